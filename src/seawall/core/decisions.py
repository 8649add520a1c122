"""Declarations that a route carries: who may call it (one each), and whether a token without proof is enough.

`may()` lives in `seawall.access`, because it needs the policy engine. The two that need none live here, so that every
heading can declare its own routes without importing another heading.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, Request

from seawall.core.errors import Forbidden, Refused
from seawall.core.scope import PASSAGE_KEY, Decided, Passage, Principal

DECISION_ATTR = "__seawall_decision__"
"""Set on a dependency's callable; the boot gate counts exactly one of these on every route."""

BEARER_ATTR = "__seawall_bearer__"
"""Set on the callable of `bearer`. It is no decision: the boot gate wants one beside it, and after it."""

WHY_LENGTH_MIN = 8


def passage_of(request: Request) -> Passage:
    """The `Passage` of a request, which the outermost wall made."""
    passage: Passage = request.scope[PASSAGE_KEY]
    return passage


def _declared(kind: str, why: str, decide: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Any]]:
    _reasoned(kind, why)
    setattr(decide, DECISION_ATTR, kind)
    return decide


def _reasoned(kind: str, why: str) -> None:
    if len(why.strip()) < WHY_LENGTH_MIN:
        raise Refused(
            f"{kind}({why!r}) gives no reason",
            why="an exception to deny-by-default must say why it is one",
            fix=f'{kind}("menus are public")',
        )


def public(why: str) -> Any:
    """Anyone may call this route, signed in or not. It gets no database session.

    Use it as `dependencies=[public("the landing page")]`.

    Raises:
        Refused: when `why` says nothing.
    """

    async def decide(request: Request) -> None:
        passage_of(request).decision = Decided("public", why)

    return Depends(_declared("public", why, decide))


def self_service(why: str, *, before_second_factor: bool = False) -> Any:
    """Any signed-in person may call this route, for their own account only. The dependency's value is the `Principal`.

    Args:
        why: what people do here with their own account.
        before_second_factor: also for who holds a privileged role and has not proved a second factor yet. Only what
            leads to one, shows the own account or ends the session may say so.

    Raises:
        NotSignedIn: at the request, when there is no live session.
        SecondFactorRequired: at the request, when the person's role demands a factor that is not proved yet.
        Refused: when `why` says nothing.
    """

    async def decide(request: Request) -> Principal:
        passage = passage_of(request)
        principal = await (passage.require_principal() if before_second_factor else passage.require_actor())
        if principal.break_glass is not None:
            raise Forbidden("Break-glass reads what the policies name; this is somebody's own.")
        passage.decision = Decided("self-service", why)
        return principal

    return Depends(_declared("self_service", why, decide))


def bearer(why: str) -> Any:
    """This route also takes access tokens that are bound to no key. No decision: it stands beside the route's own.

    Use it as `dependencies=[bearer("the old scanner cannot sign")]`. A token that is bound to a key needs its proof
    here as everywhere (RFC 9449 §7.2).

    Raises:
        Refused: when `why` says nothing.
    """
    _reasoned("bearer", why)

    async def allow(request: Request) -> None:
        passage_of(request).bearer = why

    setattr(allow, BEARER_ATTR, why)
    return Depends(allow)
