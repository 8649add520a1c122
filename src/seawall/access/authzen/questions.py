"""Questions as JSON says them: who, what, on what. Bounded; properties that a caller sends decide nothing.

Members that are not known are ignored, as the specification wants; what is known must have its type.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seawall.core.errors import BadRequest

EVALUATIONS_MAX = 100
NAME_LENGTH_MAX = 256
PAGE_MAX = 100
SEMANTICS = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
PARTS = ("subject", "action", "resource", "context")


@dataclass(frozen=True, slots=True)
class Named:
    """A subject or resource. `id` is empty where a search looks for it."""

    type: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """May this subject do this to that? `action` is empty where a search looks for it."""

    subject: Named
    action: str
    resource: Named
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a search's results: at most `limit`, after the one that `after` names."""

    limit: int = PAGE_MAX
    after: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Several questions in one message. One that is malformed is its own message, and is answered no."""

    questions: tuple[Question | str, ...]
    semantic: str


def question(document: Any, *, seeks: str = "") -> Question:
    """One question. `seeks` names the part that a search looks for: `subject`, `action` or `resource`.

    Raises:
        BadRequest: naming the member that is missing or is not what it should be.
    """
    whole = _object(document, "the request")
    return Question(
        subject=_named(whole, "subject", identified=seeks != "subject"),
        action="" if seeks == "action" else _text(_object(whole.get("action"), "action"), "name", "action"),
        resource=_named(whole, "resource", identified=seeks != "resource"),
        context=_object(whole.get("context", {}), "context"),
    )


def batch(document: Any) -> Batch | None:
    """Several questions with their defaults; None when the message is a single one.

    Raises:
        BadRequest: for what concerns the whole message.
    """
    whole = _object(document, "the request")
    listed = whole.get("evaluations")
    if listed is None or listed == []:
        return None
    if not isinstance(listed, list) or len(listed) > EVALUATIONS_MAX:
        raise BadRequest(f"evaluations is a list of at most {EVALUATIONS_MAX}.")
    semantic = _object(whole.get("options", {}), "options").get("evaluations_semantic", SEMANTICS[0])
    if semantic not in SEMANTICS:
        raise BadRequest(f"options.evaluations_semantic is one of {', '.join(SEMANTICS)}.")
    defaults = {part: whole[part] for part in PARTS if part in whole}
    return Batch(tuple(_one({**defaults, **one} if isinstance(one, dict) else one) for one in listed), semantic)


def page(document: Any) -> Page:
    """The page that a search asks for; `token` and `next_token` are both taken.

    Raises:
        BadRequest: for a limit or a token that is not one.
    """
    asked = _object(_object(document, "the request").get("page", {}), "page")
    limit = asked.get("limit", PAGE_MAX)
    if type(limit) is not int or limit < 1:
        raise BadRequest("page.limit is a whole number of at least 1.")
    token = asked.get("token", asked.get("next_token", "")) or ""
    return Page(min(limit, PAGE_MAX), _after(token))


def token_of(identity: object) -> str:
    """The token of the page that follows an object: its id, opaque so that nobody builds on it."""
    return base64.urlsafe_b64encode(str(identity).encode()).decode().rstrip("=")


def _after(token: Any) -> str:
    if not isinstance(token, str) or len(token) > 2 * NAME_LENGTH_MAX:
        raise BadRequest("page.token is not one that was given.")
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise BadRequest("page.token is not one that was given.") from None


def _one(document: Any) -> Question | str:
    try:
        return question(document)
    except BadRequest as problem:
        return problem.detail


def _named(whole: Mapping[str, Any], part: str, *, identified: bool) -> Named:
    about = _object(whole.get(part), part)
    return Named(_text(about, "type", part), _text(about, "id", part) if identified else "")


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where} is missing, or not an object.")
    return value


def _text(about: Mapping[str, Any], name: str, where: str) -> str:
    value = about.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH_MAX:
        raise BadRequest(f"{where}.{name} is missing, or not a text of 1 to {NAME_LENGTH_MAX} characters.")
    return value
