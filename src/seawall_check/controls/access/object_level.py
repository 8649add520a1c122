"""Every object is authorised when it is loaded: another's id opens nothing.

Why
    Changing the id in the address is the oldest attack there is, and the most common hole in generated apps: the route
    asks whether somebody is signed in, and loads whatever id it is given (BOLA, IDOR).

How it is attacked
    For every stated route that names objects, in both tenants, each persona first acts on its own object. Then on the
    other tenant's, on a colleague's of the same role (unless the route is marked `shared`), on one that does not exist,
    and, where the body names objects, on the other tenant's through the body. Each must be refused, and the answer hold
    nothing of the object. A foreign and an absent object must look alike; so must they where a parameter of the query
    names the object. Last, people walk the app's pages, and put what they may not read into the addresses.

How to fix
    Let `may(Model, "action")` load the object; load further ones through `scope.session()` under row-level security.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any

from seawall_check.control import Control
from seawall_check.controls.access._calls import Call, body_of, decided, first_decided, send, stated, values_of
from seawall_check.controls.access._pages import walk
from seawall_check.document import Persona, Tenant
from seawall_check.probes.http import Operation
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/object-level",
    title="Every object is authorised when it is loaded",
    refs=("ASVS 8.2.2",),
    timeout_s=240,
)

IN_BODY = frozenset({400, 401, 403, 404, 409, 422})
ID_LENGTH_MIN = 8
QUERIED_MAX = 3
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


async def check(target: Target, trial: Trial) -> None:
    tried = 0
    for operation, said in stated(target):
        roles = said.get("allow", ())
        for persona in target.personas:
            if persona.role in roles and (operation.path_names or _named(said) or _queried(operation, persona)):
                tried += await _attack(target, trial, operation, said, persona)
    if not tried:
        trial.unproven("no stated route that names an object answered anybody")
    if target.document.sign_in is not None:
        await walk(target, trial)


async def _attack(
    target: Target, trial: Trial, operation: Operation, said: Mapping[str, Any], persona: Persona
) -> bool:
    own = await first_decided(target, operation, persona)
    if own is None:
        return False
    call, answer = own
    reached = decided(answer)
    trial.allow(f"{call.name}, on its own object", answer, ok=reached, expected="reaches the handler", of=call.name)
    for theirs in target.tenants:
        if theirs.id != persona.tenant:
            await _foreign(target, trial, call, theirs)
            await _foreign_in_body(target, trial, call, said, theirs)
    if not said.get("shared"):
        await _colleagues(target, trial, call)
        for name in _queried(operation, persona):
            await _in_query(target, trial, call, name)
    return reached


async def _foreign(target: Target, trial: Trial, call: Call, theirs: Tenant) -> None:
    """Each path parameter in turn, and all of them, becomes the other tenant's; then nobody's."""
    names = [name for name in call.operation.path_names if _ids(theirs.objects.get(name))]
    swaps = [{name} for name in names] + ([set(names)] if len(names) > 1 else [])
    for swapped in swaps:
        values = {**call.values, **{name: _ids(theirs.objects[name])[-1] for name in swapped}}
        foreign = await _send(target, call, values, theirs.objects)
        what = " and ".join(sorted(swapped))
        _refused(trial, f"{call.name}, {what} of {theirs.name}", foreign, call, theirs.objects, sent=values)
        absent = await _send(target, call, {**call.values, **{name: str(uuid.uuid4()) for name in swapped}}, {})
        alike = absent.status_code == foreign.status_code
        trial.refuse(
            f"{call.name}, tell {theirs.name}'s {what} from one that does not exist",
            f"{foreign.status_code} and {absent.status_code}",
            ok=alike,
            expected="the same status",
            artifact=absent,
            of=call.name,
        )


async def _foreign_in_body(target: Target, trial: Trial, call: Call, said: Mapping[str, Any], theirs: Tenant) -> None:
    names = [name for name in _named(said) if _ids(theirs.objects.get(name))]
    if names:
        objects = {**call.persona.objects, **{name: theirs.objects[name] for name in names}}
        answer = await send(target, call, body=body_of(call.operation, said, objects))
        attempt = f"{call.name}, {' and '.join(names)} of {theirs.name} in the body"
        _refused(trial, attempt, answer, call, theirs.objects, statuses=IN_BODY, sent={n: objects[n][0] for n in names})


async def _colleagues(target: Target, trial: Trial, call: Call) -> None:
    """Somebody of the same role and tenant, whose objects are not this persona's."""
    mine = call.persona
    for other in target.who(role=mine.role, tenant=mine.tenant):
        theirs = {name: [i for i in ids if i not in mine.objects.get(name, ())] for name, ids in other.objects.items()}
        values = values_of(call.operation, theirs)
        if other != mine and values:
            answer = await _send(target, call, values, theirs)
            _refused(trial, f"{call.name}, on an object of {other.name}", answer, call, theirs, sent=values)


async def _in_query(target: Target, trial: Trial, call: Call, name: str) -> None:
    """Objects that are not this persona's, named in the query: answered as one that does not exist."""
    mine = call.persona.objects[name]
    trial.allow(f"{call.name}?{name}= their own", await send(target, call, query={name: mine[0]}), of=call.name)
    absent = str(uuid.uuid4())
    nothing = await send(target, call, query={name: absent})
    for tenant in target.tenants:
        for one in [other for other in _ids(tenant.objects.get(name)) if other not in mine][-QUERIED_MAX:]:
            answer = await send(target, call, query={name: one})
            alike = answer.text.replace(one, "") == nothing.text.replace(absent, "")
            trial.refuse(
                f"{call.name}?{name}= one of {tenant.name} that is not theirs",
                answer
                if alike or answer.status_code >= 400
                else f"{answer.status_code}, more than of one that is none",
                ok=answer.status_code == nothing.status_code and (alike or answer.status_code >= 400),
                expected="the answer of one that does not exist",
                artifact=answer,
                of=call.name,
            )


async def _send(target: Target, call: Call, values: Mapping[str, str], theirs: Mapping[str, Any]) -> Any:
    client = await target.client(call.persona)
    return await call.operation.send(client, values, body=call.body)


def _refused(
    trial: Trial,
    attempt: str,
    answer: Any,
    call: Call,
    theirs: Mapping[str, Any],
    *,
    sent: Mapping[str, str],
    statuses: frozenset[int] = frozenset({403, 404}),
) -> None:
    echoed = set(sent.values())
    told = [one for ids in theirs.values() for one in _ids(ids) if one not in echoed and one in answer.text]
    own = {one for ids in call.persona.objects.values() for one in ids}
    leaks = [one for one in told if one not in own]
    trial.refuse(
        attempt,
        answer,
        ok=answer.status_code in statuses and not leaks,
        expected=f"{' or '.join(map(str, sorted(statuses)))}, holding nothing of the object",
        of=call.name,
    )


def _queried(operation: Operation, persona: Persona) -> list[str]:
    """The parameters of the query that name objects which this persona has some of."""
    names = [str(one.get("name")) for one in operation.query]
    return [name for name in names if operation.safe and _ids(persona.objects.get(name))]


def _named(said: Mapping[str, Any]) -> list[str]:
    """The objects that the stated body names, such as `{dish_id}`."""
    return sorted(set(_PLACEHOLDER.findall(str(said.get("body", "")))))


def _ids(ids: Any) -> list[str]:
    """Words such as `courier` are no ids: both tenants have them."""
    return [one for one in ids or () if len(one) >= ID_LENGTH_MIN]
