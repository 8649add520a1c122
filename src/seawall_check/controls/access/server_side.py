"""Decisions rest on what the server holds: nothing that a caller claims about themselves changes one.

Why
    A role, an owner, a price or `is_admin=true` that arrives with the request is a wish. Apps that believe it are
    common, because it works in every test that the author thinks of.

How it is attacked
    For every stated route one persona that may call it and one that may not first call it plainly. Then claims are
    added: in the query, in cookies, in headers that proxies and frameworks use, and one by one as fields of the body
    and of each object within it (`role`, `is_admin`, `owner`, `price`, `total`, `step_up`, …). Who was refused must
    still be refused. Whoever was allowed must get the same answer, or a refusal of the unknown field. Where one claim
    is refused as such, each is tried alone, so that it does not hide the others.

How to fix
    Read the caller from `scope.principal` and the object from `may(…)`; give bodies `extra="forbid"` (`seawall.Body`).
"""

from collections.abc import Mapping
from typing import Any

from seawall_check.control import Control
from seawall_check.controls.access._calls import (
    Call,
    body_of,
    decided,
    first_allowed,
    send,
    stated,
    taken,
    told,
    values_of,
)
from seawall_check.document import Persona
from seawall_check.target import Target
from seawall_check.trial import Trial, brief

control = Control(
    id="access/server-side",
    title="Decisions rest on what the server holds",
    refs=("ASVS 8.3.1", "ASVS 8.3.3"),
    timeout_s=240,
)

CLAIMED_NUMBER = 86_420_137
"""A price nobody has; an answer that holds it has believed it."""
QUERY = {"role": "{role}", "roles": "{role}", "is_admin": "true", "admin": "1", "user_id": "{user}", "sudo": "1"}
HEADERS = {
    "X-Role": "{role}",
    "X-User-Role": "{role}",
    "X-Roles": "{role}",
    "X-Is-Admin": "true",
    "X-Admin": "1",
    "X-User-Id": "{user}",
    "X-User": "{user}",
    "X-Forwarded-User": "{user}",
    "X-Authenticated-User": "{user}",
    "X-Remote-User": "{user}",
    "X-Step-Up": "true",
    "X-Original-URL": "/",
    "X-HTTP-Method-Override": "GET",
}
COOKIES = {"role": "{role}", "is_admin": "true", "user_id": "{user}", "uid": "{user}", "tenant_id": "{tenant}"}
CLAIMS: Mapping[str, Any] = {
    "role": "{role}",
    "roles": ["{role}"],
    "is_admin": True,
    "admin": True,
    "owner": "{user}",
    "owner_id": "{user}",
    "user_id": "{user}",
    "customer_id": "{user}",
    "refunded_by": "{user}",
    "tenant_id": "{tenant}",
    "price": CLAIMED_NUMBER,
    "price_minor": CLAIMED_NUMBER,
    "total": CLAIMED_NUMBER,
    "total_minor": CLAIMED_NUMBER,
    "paid_minor": CLAIMED_NUMBER,
    "refunded_minor": -CLAIMED_NUMBER,
    "refunded_today_minor": -CLAIMED_NUMBER,
    "status": "paid",
    "step_up": True,
    "auth": {"aal": 3, "age_s": 0},
    "now": "2020-01-01T00:00:00Z",
}
REFUSED = frozenset({401, 403, 404})


async def check(target: Target, trial: Trial) -> None:
    tried = 0
    for operation, said in stated(target):
        allowed = await first_allowed(target, operation, said)
        if allowed is None:
            continue
        call, plain = allowed
        tried += 1
        of = operation.name
        trial.allow(f"{call.name}, plainly", plain, ok=decided(plain), expected="reaches the handler", of=of)
        if operation.method == "GET":
            await _same_answer(target, trial, call)
        elif isinstance(call.body, Mapping):
            await _claims_refused(target, trial, call)
        for persona in target.who(tenant=call.persona.tenant):
            if persona.role not in said.get("allow", ()):
                await _still_refused(target, trial, said, persona, call)
                break
    if not tried:
        trial.unproven("no stated route answered anybody")


def _words(target: Target, persona: Persona) -> dict[str, str]:
    """The most powerful role, its holder, and the other tenant, to be claimed."""
    above = [p for p in target.who(tenant=persona.tenant) if p.role in ("owner", "admin")] or [
        p for p in target.who(tenant=persona.tenant) if p != persona
    ]
    other = next((t.id for t in target.tenants if t.id != persona.tenant), "")
    chosen = above[0] if above else persona
    return {"{role}": chosen.role, "{user}": chosen.user_id, "{tenant}": other}


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(one, words) for one in value]
    return words.get(value, value) if isinstance(value, str) else value


def _claims(target: Target, persona: Persona) -> dict[str, Any]:
    words = _words(target, persona)
    return {
        "query": {name: _filled(value, words) for name, value in QUERY.items()},
        "headers": {name: _filled(value, words) for name, value in HEADERS.items()},
        "cookies": {name: _filled(value, words) for name, value in COOKIES.items()},
    }


async def _same_answer(target: Target, trial: Trial, call: Call) -> None:
    for place, said in _claims(target, call.persona).items():
        changed = await _changed(target, call, place, said)
        trial.refuse(
            f"{call.name}, claiming another role and person in the {place}",
            told(changed, "the plain answer, or a refusal of the claim"),
            ok=not changed,
            expected="the plain answer, or a refusal",
            artifact=changed[0][1] if changed else None,
            of=call.operation.name,
        )


async def _changed(target: Target, call: Call, place: str, said: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The claims that changed an allowed answer."""
    before = await send(target, call)
    claimed = await send(target, call, **{place: said})
    after = await send(target, call)
    # What others change meanwhile shows in the plain answers too, and is no proof of belief.
    same = claimed.text in (before.text, after.text) or before.text != after.text
    if claimed.status_code == before.status_code and same:
        return []
    refused = 400 <= claimed.status_code < 500
    if refused and len(said) > 1:
        alone = [await _changed(target, call, place, {name: value}) for name, value in said.items()]
        return [one for found in alone for one in found]
    return [] if refused else [(", ".join(said), claimed)]


async def _claims_refused(target: Target, trial: Trial, call: Call) -> None:
    """Each claim that is not a field of the body itself, alone, so that one refusal does not hide the others."""
    words = _words(target, call.persona)
    believed = await taken(target, call, {name: _filled(value, words) for name, value in CLAIMS.items()})
    trial.refuse(
        f"{call.name}, claiming {len(CLAIMS)} things in the body",
        told(believed, "each was refused with 422"),
        ok=not believed,
        expected="422 for each unknown field",
        artifact=believed[0][1] if believed else None,
        of=call.operation.name,
    )


async def _still_refused(target: Target, trial: Trial, said: Mapping[str, Any], persona: Persona, model: Call) -> None:
    operation = model.operation
    tenant = target.tenant(persona.tenant).objects
    values = values_of(operation, {**tenant, **persona.objects}) or dict(model.values)
    call = Call(operation, persona, values, body_of(operation, said, {**tenant, **persona.objects}))
    plain = await send(target, call)
    if plain.status_code not in REFUSED:
        return  # access/function-level says so
    for place, claims in _claims(target, persona).items():
        let_in = await _let_in(target, call, brief(plain), place, claims)
        trial.refuse(
            f"{call.name}, claiming to be allowed in the {place}",
            told(let_in, "refused as before"),
            ok=not let_in,
            expected="refused as before, or the claim is",
            artifact=let_in[0][1] if let_in else None,
            of=operation.name,
        )


async def _let_in(target: Target, call: Call, plain: str, place: str, said: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The claims that let somebody in who was refused."""
    answer = await send(target, call, **{place: said})
    if brief(answer) == plain:
        return []
    if 400 <= answer.status_code < 500:
        if len(said) == 1:
            return []
        alone = [await _let_in(target, call, plain, place, {name: value}) for name, value in said.items()]
        return [one for found in alone for one in found]
    return [(", ".join(said), answer)]
