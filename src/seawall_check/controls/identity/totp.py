"""A TOTP code works once, in its time, and guessing is slowed down.

Why
    Six digits are a million guesses, and a code read over a shoulder or phished is good for a minute and a half.
    Only a server that remembers the used time step and counts failures makes it a second factor.
How it is attacked
    The judge enrols its own authenticator. Codes are replayed, used concurrently from several sessions, taken from far
    time steps, mangled, and guessed until the account is slowed down, wherever a code is taken; after that even a right
    code is refused, in the person's other sessions too. The secret is searched for in the database in clear. Recovery
    codes are used twice, by several sessions at once and by somebody else, and searched for as well. A session signed
    in long ago tries to plant a factor.
How to fix
    Use `/auth/totp` and step-up of `seawall.identity`; the limit is `identity.attempts_per_account`.
"""

from __future__ import annotations

import asyncio
import base64
import time

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import (
    JSON,
    STEP_S,
    Action,
    Authenticator,
    begin_enrolment,
    forget_factor,
    totp,
)
from seawall_check.controls._sweep import places_of
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.second_factor import routes_of
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/totp",
    title="A TOTP code works once and in its time, a recovery code once; guessing is throttled; secrets are sealed",
    refs=("ASVS 6.5.1", "ASVS 6.6.3", "RFC 6238"),
    timeout_s=240,
    exclusive=True,
)

RACERS = 5
GUESSES_MAX = 40


async def check(target: Target, trial: Trial) -> None:
    action = Action.of(target)
    people = [persona for persona in action.personas(target) if action.objects(persona)]
    if len(people) < 2:
        raise Unproven(f"two personas of role {action.role} with objects are needed")
    # The first two: step-up uses the last ones, since a person has three codes in half a minute.
    subject, late = people[0], people[1]
    for persona in (subject, late):
        await forget_factor(target, persona)
    authenticator, step, recovery = await _enrolment(target, trial, subject)
    await _sealed(target, trial, authenticator)
    racers = [await target.fresh(subject) for _ in range(RACERS)]
    path = await action.open_object(racers[0], subject)
    addresses = [await action.challenge(client, path, action.above) for client in racers]
    await _once(trial, racers[0], addresses[0], authenticator, step)
    await _race(trial, racers, addresses, authenticator)
    await _recovery(target, trial, subject, late, recovery)
    await _stale(target, trial, late)
    # a session of its own: each of the racers may be the one whose action was approved
    guesser, beside = await target.fresh(subject), await target.fresh(subject)
    address, other = [await action.challenge(client, path, action.above) for client in (guesser, beside)]
    await _guessing(trial, guesser, address, authenticator.secret, of="the step-up")
    right = totp(authenticator.secret, int(time.time()) // STEP_S + 1)
    trial.refuse("a code while slowed down", await _send(guesser, address, right), statuses={429})
    trial.refuse("a code in another session meanwhile", await _send(beside, other, right), statuses={429})
    if target.sign_in.passkeys is not None:
        half = await target.half_signed_in(subject)
        await _guessing(trial, half, routes_of(target.sign_in).prove, authenticator.secret, of="signing in")


async def _enrolment(target: Target, trial: Trial, persona: Persona) -> tuple[Authenticator, int, list[str]]:
    """The judge's authenticator, the step of the code that confirmed it, and the recovery codes that it brought."""
    client = await target.fresh(persona)
    authenticator = await begin_enrolment(target, client)
    step = await authenticator.step()
    wrong = await _send(client, target.sign_in.totp, _wrong(authenticator.secret))
    right = await _send(client, target.sign_in.totp, totp(authenticator.secret, step))
    trial.allow("a right code confirms a new factor", right, of="enrol")
    trial.refuse("a wrong code does not", wrong, statuses={400, 401, 403, 422}, of="enrol")
    told = right.json() if right.is_success and "json" in right.headers.get("content-type", "") else {}
    codes = [str(code) for code in told.get("recovery_codes", ())]
    target.redactor.learn(*codes)
    return authenticator, step, codes


async def _send(client: httpx2.AsyncClient, address: str, code: object) -> httpx2.Response:
    return await client.post(address, json={"code": code}, headers=JSON)


def _wrong(secret: str) -> str:
    """Six digits that are right in none of the steps around now."""
    current = int(time.time()) // STEP_S
    near = {totp(secret, current + beside) for beside in range(-3, 5)}
    return next(code for number in range(100) if (code := f"{number:06d}") not in near)


async def _sealed(target: Target, trial: Trial, authenticator: Authenticator) -> None:
    secret = authenticator.secret
    raw = base64.b32decode(secret + "=" * (-len(secret) % 8))
    async with target.db_owner() as db:
        found = (
            await places_of(db, secret.encode()) + await places_of(db, raw) + await places_of(db, raw.hex().encode())
        )
    trial.expect(
        "the secret is in no column of the database", expected="nowhere", observed=", ".join(found) or "nowhere",
        ok=not found,
    )  # fmt: skip


async def _once(
    trial: Trial, client: httpx2.AsyncClient, address: str, authenticator: Authenticator, enrolled_step: int
) -> None:
    secret = authenticator.secret
    refused = {400, 401, 403, 422, 429}
    current = int(time.time()) // STEP_S
    answers = {
        "the code that confirmed the enrolment, again": await _send(client, address, totp(secret, enrolled_step)),
        "a code of five minutes ago": await _send(client, address, totp(secret, current - 10)),
        "a code of five minutes ahead": await _send(client, address, totp(secret, current + 10)),
        "a code with a digit too many": await _send(client, address, totp(secret, current) + "0"),
        "full-width digits": await _send(
            client, address, totp(secret, current + 1).translate({48 + n: 0xFF10 + n for n in range(10)})
        ),
        "a list of codes": await _send(client, address, [totp(secret, current), totp(secret, current + 1)]),
        "no code": await _send(client, address, ""),
    }
    code = await authenticator.code()
    trial.allow("an unused code of now", await _send(client, address, code))
    for name, response in answers.items():
        trial.refuse(name, response, statuses=refused)


async def _race(
    trial: Trial, racers: list[httpx2.AsyncClient], addresses: list[str], authenticator: Authenticator
) -> None:
    """One code in several sessions of one person at the same moment."""
    code = await authenticator.code()
    pairs = list(zip(racers[1:], addresses[1:], strict=True))
    answers = await asyncio.gather(*(_send(client, address, code) for client, address in pairs))
    good = [answer for answer in answers if answer.status_code == 200]
    trial.allow(
        "a code used by several sessions at once works", f"{len(good)} of {len(answers)}", ok=bool(good), of="race"
    )
    trial.refuse(
        "it works for one of them only",
        f"{len(good)} of {len(answers)}",
        ok=len(good) <= 1,
        expected=f"1 of {len(answers)}",
        of="race",
    )
    for client, address in pairs:
        if (answer := await _send(client, address, code)).status_code not in {409}:
            trial.refuse("the same code once more", answer, statuses={400, 401, 403, 404, 429}, of="race")
            break


async def _stale(target: Target, trial: Trial, persona: Persona) -> None:
    """A session that was left open must not be enough to plant a factor."""
    client = await target.fresh(persona)
    recent = await client.get(target.sign_in.totp, headers=JSON)
    trial.allow("a session signed in just now may begin to enrol", recent, of="stale")
    async with target.db_owner() as db:
        await db.execute(
            "UPDATE seawall.sessions SET authenticated_at = now() - interval '1 hour' WHERE user_id = $1::uuid",
            persona.user_id,
        )
    old = await client.get(target.sign_in.totp, headers=JSON)
    trial.refuse("a session signed in an hour ago may not", old, statuses={401, 403}, of="stale")


async def _recovery(target: Target, trial: Trial, subject: Persona, other: Persona, codes: list[str]) -> None:
    """Codes that stand for a lost factor: each once, for their owner only, and kept as hashes."""
    if target.sign_in.passkeys is None or len(codes) < 3:
        trial.unproven(f"{len(codes)} recovery codes came with the factor, and somewhere to use them is needed")
        return
    prove = routes_of(target.sign_in).prove
    async with target.db_owner() as db:
        await db.execute("DELETE FROM seawall.throttles")  # the wrong codes before this are not what is tried here
        wanted = {form for code in codes for form in (code, code.replace("-", ""), code.replace("-", "").lower())}
        found = [place for form in wanted for place in await places_of(db, form.encode())]
    trial.expect(
        "no recovery code is in any column of the database", expected="nowhere",
        observed=", ".join(sorted(set(found))) or "nowhere", ok=not found,
    )  # fmt: skip
    once, *racers = [await target.half_signed_in(subject) for _ in range(RACERS)]
    theirs = await _send(await target.fresh(other), prove, codes[2])
    trial.allow("a recovery code", await _send(once, prove, codes[0]), of="recovery")
    trial.refuse("somebody else's recovery code", theirs, statuses={400, 401, 403, 422}, of="recovery")
    again = await _send(racers[0], prove, codes[0])
    trial.refuse("the same recovery code again", again, statuses={400, 401, 403, 422}, of="recovery")
    answers = await asyncio.gather(*(_send(client, prove, codes[1]) for client in racers))
    good = sum(answer.is_success for answer in answers)
    trial.refuse(
        "one recovery code in several sessions at once", f"{good} of {len(racers)}", ok=good == 1,
        expected=f"1 of {len(racers)}", of="recovery",
    )  # fmt: skip


async def _guessing(trial: Trial, client: httpx2.AsyncClient, address: str, secret: str, *, of: str) -> None:
    guess, answer = 1, await _send(client, address, _wrong(secret))
    while answer.status_code != 429 and guess < GUESSES_MAX:
        guess, answer = guess + 1, await _send(client, address, _wrong(secret))
    trial.expect(
        f"guessing at {of} is slowed down",
        expected=f"429 within {GUESSES_MAX} wrong codes",
        observed=f"{answer.status_code} after {guess}",
        ok=answer.status_code == 429,
        artifact=answer,
    )
    trial.expect(
        f"the answer of {of} says when to try again",
        expected="Retry-After",
        observed=answer.headers.get("retry-after", "nothing"),
        ok=answer.headers.get("retry-after", "").isdigit(),
    )
