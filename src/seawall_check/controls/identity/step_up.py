"""A step-up approves exactly one action: this resource, these parameters, this session, once.

Why
    "Confirm with your code" is worth nothing if the confirmation also buys something else: another amount, another
    order, the same thing twice, or the thief's session instead of one's own.
How it is attacked
    The action of `[check.step_up]` is tried below and above its limit. The approval for one amount is then offered for
    a larger amount, for each other number and text of the request changed, for another object, in another session, by
    several requests at the same moment, again, and after it has expired. What the approval page says is compared with
    what is asked for; the session's token from before must be dead.
How to fix
    Say `@step_up("aal=2,max_age_s=300")` in the policy and take every parameter that matters into the route's
    `context`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import (
    JSON,
    Action,
    Authenticator,
    altered,
    approval_address,
    begin_enrolment,
    enrol,
    forget_factor,
)
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/step-up",
    title="A step-up approves exactly this action, resource, amount and session, once",
    refs=("ASVS 7.5.3", "RFC 9470"),
    timeout_s=240,
    exclusive=True,
)

RACERS = 6
REFUSED = {401, 403, 404, 409}


@dataclass
class Person:
    """Who tries, on which objects."""

    target: Target
    action: Action
    persona: Persona
    client: httpx2.AsyncClient
    paths: list[dict[str, str]]

    async def approve(self, address: str, authenticator: Authenticator) -> httpx2.Response:
        return await self.client.post(address, json={"code": await authenticator.code()}, headers=JSON)


async def check(target: Target, trial: Trial) -> None:
    action = Action.of(target)
    people = [persona for persona in action.personas(target) if len(action.objects(persona)) > 2]
    if not people:
        raise Unproven(f"no persona of role {action.role} has three objects of {action.operation.name}")
    persona = people[-1]
    await forget_factor(target, persona)
    client, objects = await target.fresh(persona), action.objects(persona)
    trial.allow("the action below its limit", await action.send(client, objects[-1], action.below))
    # Some objects may not allow the action at all (an order too small for the refund); those prove nothing here.
    tried = [(path, await action.send(client, path, action.above)) for path in objects[:-1]]
    challenged = [(path, response) for path, response in tried if response.status_code != 403]
    if len(challenged) < 2:
        raise Unproven(f"{len(challenged)} objects of {persona.name} allow {action.above} at all; two are needed")
    for _, response in challenged:
        _challenge(trial, response)
    person = Person(target, action, persona, client, [path for path, _ in challenged])
    address = approval_address(challenged[0][1])
    authenticator = await _without_factor(person, trial, address)
    await _approval(person, trial, address)
    before = target.session_token(person.client)
    trial.allow("a code approves it", await person.approve(address, authenticator), of="bound")
    renewed = "the same" if before == target.session_token(person.client) else "another"
    trial.expect("the session's token is renewed", expected="another", observed=renewed, ok=renewed == "another")
    cookie = {"Cookie": f"{target.sign_in.session_cookie}={before}"}
    stale = await target.anonymous().get(target.sign_in.me, headers={**JSON, **cookie})
    trial.refuse("the session's token from before", stale, statuses={401}, of="bound")
    await _bound(person, trial)
    await _race(person, trial)
    await _expired(person, trial, authenticator)


def _challenge(trial: Trial, response: httpx2.Response) -> None:
    told = response.headers.get("www-authenticate", "")
    trial.refuse("the action above its limit, without a second factor", response, statuses={401})
    trial.expect(
        "the challenge is RFC 9470's",
        expected="insufficient_user_authentication with acr_values and max_age",
        observed=told or "nothing",
        ok="insufficient_user_authentication" in told and "acr_values=" in told and "max_age=" in told,
    )


async def _without_factor(person: Person, trial: Trial, address: str) -> Authenticator:
    """Enrols; before, approving without a factor is tried."""
    early = await person.approve(address, await begin_enrolment(person.target, person.client))
    authenticator = await enrol(person.target, person.client)
    trial.refuse("approving with a factor that was never confirmed", early, statuses={400, 401, 403})
    return authenticator


async def _approval(person: Person, trial: Trial, address: str) -> None:
    """What is shown must be what is approved, and only to whom it concerns."""
    target, persona, action = person.target, person.persona, person.action
    shown = await person.client.get(address, headers=JSON)
    params = shown.json().get("params", {}) if shown.status_code == 200 else {}
    trial.allow("the challenge is shown to its own session", shown, of="shown")
    missing = {name for name, value in action.above.items() if params.get(name) != value}
    trial.expect(
        "it names every parameter of the request",
        expected=str(action.above),
        observed=str(params),
        ok=not missing,
        artifact=shown,
    )
    others = [one for one in target.personas if one != persona]
    same = await target.fresh(persona)
    trial.refuse("shown to another session of the same person", await same.get(address, headers=JSON), of="shown")
    if others:
        stranger = await target.fresh(others[0])
        trial.refuse("shown to another person", await stranger.get(address, headers=JSON), of="shown")
    trial.refuse("shown to nobody", await target.anonymous().get(address, headers=JSON), of="shown")


async def _bound(person: Person, trial: Trial) -> None:
    """The approval is there; everything but the exact action is tried with it."""
    action, first, second = person.action, *person.paths[:2]
    changes = altered(action.operation, action.above)
    if not changes:
        raise Unproven("the body of [check.step_up] holds no number and no text that could be another")
    for name, body in changes.items():
        other = await action.send(person.client, first, body)
        trial.refuse(f"the approval used with another {name}", other, statuses=REFUSED, of="bound")
    other = await action.send(person.client, second, action.above)
    trial.refuse("the approval used for another object", other, statuses=REFUSED, of="bound")
    session = await person.target.fresh(person.persona)
    theirs = await action.send(session, first, action.above)
    trial.refuse("the approval used by another session", theirs, statuses=REFUSED, of="bound")


async def _race(person: Person, trial: Trial) -> None:
    """The exact action, several times at the same moment, then once more."""
    action, path = person.action, person.paths[0]
    answers = await asyncio.gather(*(action.send(person.client, path, action.above) for _ in range(RACERS)))
    done = [answer for answer in answers if answer.is_success]
    trial.allow("the approved action", f"{len(done)} of {RACERS} succeeded", ok=bool(done), of="once")
    trial.refuse(
        "the approved action, several times at once",
        f"{len(done)} of {RACERS} succeeded",
        ok=len(done) == 1,
        expected=f"1 of {RACERS}",
        artifact="\n".join(str(answer.status_code) for answer in answers),
        of="once",
    )
    again = await action.send(person.client, path, action.above)
    trial.refuse("the approved action once more", again, statuses=REFUSED, of="once")


async def _expired(person: Person, trial: Trial, authenticator: Authenticator) -> None:
    action, path = person.action, person.paths[1]
    address = await action.challenge(person.client, path, action.above)
    trial.allow("a second approval", await person.approve(address, authenticator), of="expired")
    async with person.target.db_owner() as db:
        await db.execute("UPDATE seawall.step_up_approvals SET expires_at = now() - interval '1 second'")
    late = await action.send(person.client, path, action.above)
    trial.refuse("an approval used after its time", late, statuses=REFUSED, of="expired")
