"""Some actions need another person's approval: of exactly this, once, by somebody who still may.

Why
    One stolen session, or one tempted employee, must not be enough for what hurts most: a large refund, an export of
    all customers. A second pair of eyes is worth nothing if people approve themselves, if the amount can be changed
    after it was approved, or if the approval can be used twice, next month, or after the approver was dismissed.
How it is attacked
    The action of `[check.approval]` is denied, and the denial says how to ask. The request is then answered by the one
    who asked, by others of the tenant, by the right role of another tenant and by nobody; the approval is offered for
    one cent more, with each other number and text of the request changed, for another object, several times at the same
    moment, again, after its time, after it was withdrawn or refused, after the approver lost the role, and after the
    state changed of which the approver read. Reasons are sent that are huge, empty or hold control characters. A draft
    is asked for by somebody else than who was denied.
How to fix
    Say `@requires_approval("role=owner,lifetime_s=86400")` on a policy that asks for `context.approved`, take every
    parameter that matters into the route's `context`, and let `describe=` say what an approver must know.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import altered, enrol, forget_factor
from seawall_check.controls.access._asking import (
    JSON,
    PARTS,
    Needing,
    answer,
    ask,
    forced,
    how_to_ask,
    link,
    past_it,
    race,
    told,
    wants_approval,
)
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/approvals",
    title="Some actions need another person's approval of exactly this, once",
    refs=("ASVS 2.3.5",),
    timeout_s=300,
    exclusive=True,
)

RACERS = 6
HIDDEN = {403, 404}
STOPPED = "denied for want of an approval"
UNFIT = {
    "an empty reason": " ",
    "a reason of 20,000 characters": "x" * 20_000,
    "control characters": "a\x00\x1b[2J\r\nb",
}


@dataclass
class Cast:
    """Who plays in it, each with a session of their own, and two objects that the action needs an approval for."""

    target: Target
    action: Needing
    requester: Persona
    client: httpx2.AsyncClient
    approver: Persona
    boss: httpx2.AsyncClient
    paths: list[dict[str, str]]

    async def approved(self, trial: Trial, what: str, *, of: str) -> tuple[dict[str, str], httpx2.Response]:
        """A new approval for the second object that holds: it lets through to the second factor; nothing changes."""
        path = self.paths[1]
        asked = await ask(self.client, await self.action.send(self.client, path))
        yes = await answer(self.boss, asked, "approve")
        if not yes.is_success:
            raise Unproven(f"{what}: {self.approver.name} could not approve: {yes.status_code}")
        through = await self.action.send(self.client, path)
        if through.is_success:
            raise Unproven("the approved action needs no second factor, so that one approval cannot be tried twice")
        trial.allow(f"{what}: while it holds", through, ok=past_it(through), expected="the approval is taken", of=of)
        return path, asked


async def check(target: Target, trial: Trial) -> None:
    cast = await _cast(target, trial)
    asked = await _asking(cast, trial)
    await _answering(cast, trial, asked)
    await _bound(cast, trial)
    await _lost_role(cast, trial)
    await _in_full(cast, trial)
    await _once(cast, trial)
    await _over(cast, trial)


async def _cast(target: Target, trial: Trial) -> Cast:
    action = Needing.of(target)
    for requester in target.who(role=action.role):
        bosses = target.who(role=action.approver, tenant=requester.tenant)
        if not bosses:
            continue
        await forget_factor(target, requester)
        client = await target.fresh(requester)
        tried = [(path, await action.send(client, path)) for path in action.paths(requester)]
        needing = [(path, response) for path, response in tried if wants_approval(response)]
        if len(needing) < 2:
            continue
        for _, response in needing[:2]:
            missing = [part for part in PARTS if part not in how_to_ask(response)]
            said = f"no {', '.join(missing)}" if missing else "all of them"
            trial.expect("the denial says how to ask", expected=", ".join(PARTS), observed=said, ok=not missing)
        boss = await target.fresh(bosses[0])
        return Cast(target, action, requester, client, bosses[0], boss, [path for path, _ in needing])
    raise _none_needed(target, trial, action)


def _none_needed(target: Target, trial: Trial, action: Needing) -> Unproven:
    who = ", ".join(persona.name for persona in target.who(role=action.role)) or "nobody"
    trial.expect(
        f"{action.operation.name} of {action.body} by a {action.role} waits for a {action.approver}",
        expected="denied with the code approval-required, on two objects",
        observed=f"not so for {who}",
        ok=False,
    )
    return Unproven("nobody is asked for an approval")


async def _asking(cast: Cast, trial: Trial) -> httpx2.Response:
    denial = await cast.action.send(cast.client, cast.paths[0])
    others = [one for one in cast.target.personas if one.name != cast.requester.name]
    stranger = await cast.target.fresh(others[-1])
    theirs = await ask(stranger, denial)
    unfit = {what: await ask(cast.client, denial, reason) for what, reason in UNFIT.items()}
    asked = await ask(cast.client, denial)
    trial.allow("ask for it, with a reason", asked, of="asked")
    trial.refuse(
        f"{others[-1].name} asks for what was denied to {cast.requester.name}", theirs, statuses=HIDDEN, of="asked"
    )
    for what, response in unfit.items():
        trial.refuse(f"ask with {what}", response, statuses={400, 413, 422}, of="asked")
    twice = await ask(cast.client, await cast.action.send(cast.client, cast.paths[0]))
    same = told(twice).get("id") == told(asked).get("id")
    trial.expect(
        "ask for the same again", expected="the same request", observed="the same" if same else "another", ok=same
    )
    waiting = await cast.action.send(cast.client, cast.paths[0])
    trial.refuse(
        "the action while its request waits", waiting, ok=wants_approval(waiting), expected=STOPPED, of="asked"
    )
    return asked


async def _answering(cast: Cast, trial: Trial, asked: httpx2.Response) -> None:
    """Everybody but the right person answers first; then the page of the right one is compared with what was asked."""
    target = cast.target
    refused = {f"{cast.requester.name}, who asked": await answer(cast.client, asked, "approve")}
    for persona in target.personas:
        if persona.tenant == cast.requester.tenant and persona.role not in (cast.action.approver, cast.action.role):
            refused[persona.name] = await answer(await target.client(persona), asked, "approve")
    foreign = [one for one in target.who(role=cast.action.approver) if one.tenant != cast.requester.tenant]
    for persona in foreign[:1]:
        refused[f"{persona.name} of another tenant"] = await answer(await target.fresh(persona), asked, "approve")
    refused["nobody"] = await answer(target.anonymous(), asked, "approve")
    waiting = await cast.action.send(cast.client, cast.paths[0])
    shown = await cast.boss.get(link(asked, "answer"), headers=JSON)
    told_all = {name: told(shown).get("params", {}).get(name) for name in cast.action.body}
    yes = await answer(cast.boss, asked, "approve")
    trial.allow(f"{cast.approver.name} approves", yes, of="answered")
    for who, response in refused.items():
        trial.refuse(f"approved by {who}", response, statuses=HIDDEN | {401}, of="answered")
    trial.refuse("the action after they tried", waiting, ok=wants_approval(waiting), expected=STOPPED, of="answered")
    trial.expect(
        "the approver is shown every parameter",
        expected=str(cast.action.body),
        observed=str(told_all),
        ok=told_all == cast.action.body,
        artifact=shown,
    )
    again = await answer(cast.boss, asked, "approve")
    trial.refuse("approve it once more", again, statuses={409}, of="answered")


async def _bound(cast: Cast, trial: Trial) -> None:
    """The first object's approval is there; nearly the same is tried with it, and then the thing itself."""
    changes = altered(cast.action.operation, cast.action.body)
    if not changes:
        raise Unproven("the body of [check.approval] holds no number and no text that could be another")
    changed = {name: await cast.action.send(cast.client, cast.paths[0], body) for name, body in changes.items()}
    other = await cast.action.send(cast.client, cast.paths[1])
    exact = await cast.action.send(cast.client, cast.paths[0])
    trial.allow("the approved action", exact, ok=past_it(exact), expected="the approval is taken", of="bound")
    for name, answer_ in changed.items():
        attempted = f"with another {name} than was approved"
        trial.refuse(attempted, answer_, ok=wants_approval(answer_), expected=STOPPED, of="bound")
    trial.refuse("the same on another object", other, ok=wants_approval(other), expected=STOPPED, of="bound")


async def _lost_role(cast: Cast, trial: Trial) -> None:
    """Whoever approved must still be allowed to when it is used."""
    change = "UPDATE seawall.memberships SET role = $3 WHERE user_id = $1::uuid AND role = $2"
    role = cast.action.approver
    path, asked = await cast.approved(trial, "an approval", of="role")
    await forced(cast.target, change, cast.approver.user_id, role, "dismissed")
    try:
        late = await cast.action.send(cast.client, path)
    finally:
        await forced(cast.target, change, cast.approver.user_id, "dismissed", role)
    trial.refuse(
        "an approval by somebody who lost the role", late, ok=wants_approval(late), expected=STOPPED, of="role"
    )
    await cast.client.post(link(asked, "withdraw"), headers=JSON)


async def _in_full(cast: Cast, trial: Trial) -> None:
    """The approved action with the person's own second factor, which its policies may demand besides."""
    action, path = cast.action, cast.paths[0]
    done = await action.send(cast.client, path)
    if not done.is_success and past_it(done):
        authenticator = await enrol(cast.target, cast.client)
        code = {"code": await authenticator.code()}
        await cast.client.post(told(await action.send(cast.client, path))["step_up"], json=code, headers=JSON)
        done = await action.send(cast.client, path)
    trial.allow("the approved action, done", done, of="done")
    again = await action.send(cast.client, path)
    trial.refuse("the approved action, done again", again, statuses={403, 404, 409}, of="done")


async def _once(cast: Cast, trial: Trial) -> None:
    """An action that changes nothing, so that only the approval stands between once and twice."""
    operation = cast.action.repeatable
    ids = cast.requester.objects.get(operation.path_names[0], ()) if operation is not None else ()
    if operation is None or not ids:
        trial.unproven("[check.approval] has no `repeatable`: which action could be done twice, but for its approval?")
        return
    path = {operation.path_names[0]: ids[0]}
    denial = await operation.send(cast.client, path)
    yes = await answer(cast.boss, await ask(cast.client, denial), "approve")
    trial.allow(f"{cast.approver.name} approves {operation.name}", yes, of="once")
    answers = await race(operation, cast.client, path, RACERS)
    taken = sum(past_it(one) for one in answers)
    trial.allow("the approved action", f"done {taken} times", ok=taken > 0, of="once")
    trial.refuse(
        "the approval used several times at once",
        f"taken {taken} times",
        ok=taken == 1,
        expected="taken once",
        artifact="\n".join(str(one.status_code) for one in answers),
        of="once",
    )
    again = await operation.send(cast.client, path)
    trial.refuse("the approval used once more", again, ok=wants_approval(again), expected=STOPPED, of="once")


async def _over(cast: Cast, trial: Trial) -> None:
    """An approval that no longer holds, for each reason that it may have."""
    target, client, action = cast.target, cast.client, cast.action
    expire = "UPDATE seawall.approval_requests SET expires_at = now() - interval '1 second' WHERE id = $1::uuid"
    path, asked = await cast.approved(trial, "an approval", of="expired")
    await forced(target, expire, told(asked)["id"])
    late = await action.send(client, path)
    trial.refuse("used after its time", late, ok=wants_approval(late), expected=STOPPED, of="expired")
    late_yes = await answer(cast.boss, asked, "approve")
    trial.refuse("approved after its time", late_yes, statuses={404, 409}, of="expired")

    path, asked = await cast.approved(trial, "an approval", of="withdrawn")
    trial.allow("withdraw it", await client.post(link(asked, "withdraw"), headers=JSON), of="withdrawn")
    late = await action.send(client, path)
    trial.refuse("used after it was withdrawn", late, ok=wants_approval(late), expected=STOPPED, of="withdrawn")

    path, asked = await cast.approved(trial, "an approval", of="refused")
    trial.allow("the approver refuses after all", await answer(cast.boss, asked, "refuse"), of="refused")
    late = await action.send(client, path)
    trial.refuse("used after it was refused", late, ok=wants_approval(late), expected=STOPPED, of="refused")

    if cast.action.meanwhile is None:
        trial.unproven("[check.approval] has no `meanwhile`: what changes the object of which an approver read?")
        return
    path, asked = await cast.approved(trial, "an approval", of="changed")
    trial.allow("the object changes", await action.send(client, path, cast.action.meanwhile), of="changed")
    late = await action.send(client, path)
    trial.refuse("used after the object changed", late, ok=not past_it(late), expected="denied", of="changed")
    await client.post(link(asked, "withdraw"), headers=JSON)
