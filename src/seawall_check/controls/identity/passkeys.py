"""A passkey proves who is here, on this site, for this one purpose, once.

Why
    WebAuthn is as strong as what the server checks: a library verifies the signature, but whether the person was
    verified, whose credential it is, what it was asked for and whether it was used before is the application's matter.
How it is attacked
    The judge is a browser with a software authenticator that lies, one lie at a time. It enrols and signs in without
    user verification, from another origin, for another RP id, framed by another site, with the wrong type, an altered
    signature, another key, a counter that went backwards, another person's handle. Challenges are invented, taken from
    another session or another purpose, used again, used eight times at once and used too late. The assertion for one
    step-up is offered for another. Malformed and huge messages are sent. Further passkeys are enrolled, and old ones
    removed, without a factor.
How to fix
    Use `/auth/passkeys`, `/auth/sign-in/passkey` and the step-up of `seawall.identity`; demand user verification; take
    the challenge away before anything else is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import JSON, Action, approval_address, forget_factor
from seawall_check.controls.identity._passkey_person import ASSERTION_LIES, REGISTRATION_LIES, Person
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.authenticator import Passkey, b64, unb64
from seawall_check.second_factor import options_from, routes_of
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/passkeys",
    title="Passkeys: user verification, single-use bound challenges, pinned origin, no clones, own credentials only",
    refs=("ASVS 6.3.3", "ASVS 6.7.2", "WebAuthn L3"),
    timeout_s=240,
    exclusive=True,
)

REFUSED = {400, 401, 403, 404, 409, 413, 422}
RACERS = 8


def _with(**parts: Any) -> Callable[[dict[str, Any]], Any]:
    """The honest answer with members of its response replaced."""
    return lambda answer: {**answer, "response": {**answer["response"], **parts}}


MESSAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nothing": lambda answer: None,
    "an empty object": lambda answer: {},
    "a list": lambda answer: [answer],
    "a text that is no JSON": lambda answer: "{" * 2_000,
    "a number for an id": lambda answer: {**answer, "id": 1, "rawId": 1},
    "two different ids": lambda answer: {**answer, "id": "AAAA"},
    "client data that is no JSON": _with(clientDataJSON=b64(b"\xff\xfe")),
    "client data that is a list": _with(clientDataJSON=b64(b"[]")),
    "client data nested too deeply": _with(clientDataJSON=b64(b"[" * 5_000)),
}
ASSERTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "base64 with a NUL in it": _with(signature="AA\0A"),
    "no signature": _with(signature=""),
    "a signature of zeros": _with(signature=b64(bytes(70))),
    "authenticator data cut short": _with(authenticatorData=b64(bytes(20))),
    "authenticator data of zeros": _with(authenticatorData=b64(bytes(37))),
    "100,000 characters for a signature": _with(signature="A" * 100_000),
}
ATTESTATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an attestation of deeply nested CBOR": _with(attestationObject=b64(b"\x81" * 5_000)),
    "an attestation that promises more than it has": _with(attestationObject=b64(b"\xbb" + b"\xff" * 8)),
    "an attestation that is a number": _with(attestationObject=b64(b"\x01")),
    "an attestation of a format that nobody knows": _with(
        attestationObject=b64(b"\xa3cfmtcabcgattStmt\xa0hauthDataX%" + bytes(37))
    ),
    "an attestation without a credential": _with(
        attestationObject=b64(b"\xa3cfmtdnonegattStmt\xa0hauthDataX%" + bytes(32) + b"\x05" + bytes(4))
    ),
    "no attestation": _with(attestationObject=""),
}


async def check(target: Target, trial: Trial) -> None:
    routes_of(target.sign_in)
    persona, stranger = _people(target)
    for one in (persona, stranger):
        await forget_factor(target, one)
    try:
        person = await _enrolment(target, trial, persona)
        await _signing_in(person, trial)
        await _challenges(person, trial)
        await _malformed(person, trial)
        await _owners(person, await Person.of(target, stranger), trial)
        await _step_up(person, trial)
        await _changes(person, trial)
    finally:
        for one in (persona, stranger):
            await forget_factor(target, one)


def _people(target: Target) -> tuple[Persona, Persona]:
    """Two persons whose roles are not privileged; the first has objects of the step-up's action, if there is one."""
    plain = [one for one in target.personas if one.role not in target.sign_in.privileged_roles]
    step_up = target.expectations.get("step_up", {})
    plain.sort(key=lambda one: one.role != step_up.get("role"))
    if len(plain) < 2:
        raise Unproven("two personas without a privileged role are needed")
    return plain[0], plain[-1]


async def _enrolment(target: Target, trial: Trial, persona: Persona) -> Person:
    person = await Person.of(target, persona)
    options = await options_from(await person.client.get(person.routes.enrol, headers=JSON), person.routes.enrol)
    selection = options.get("authenticatorSelection", {})
    trial.expect(
        "the options demand user verification and a discoverable credential",
        expected="required, required",
        observed=f"{selection.get('userVerification')}, {selection.get('residentKey')}",
        ok=selection.get("userVerification") == selection.get("residentKey") == "required",
    )
    handle = unb64(options["user"]["id"])
    personal = [persona.login.encode(), persona.user_id.encode(), bytes.fromhex(persona.user_id.replace("-", ""))]
    trial.expect(
        "the user handle says nothing about the person (WebAuthn §14.6.1)",
        expected="no id and no address in it", observed="one" if any(p in handle for p in personal) else "none",
        ok=not any(part and part in handle for part in personal),
    )  # fmt: skip
    refused = {}
    for name, lies in REGISTRATION_LIES.items():
        refused[f"a passkey made {name}"] = await _settled(person, (await person.enrol(lies))[1])
    for name, broken in (MESSAGES | ATTESTATIONS).items():
        options = await _enrol_options(person)
        registration = Passkey.for_options(options).registration(options, target.base_url)
        refused[f"enrolling {name}"] = await _settled(person, await person.register(broken(registration)))
    stolen = await person.target.fresh(persona)
    passkey = Passkey.for_options(options := await _enrol_options(person))
    answer = passkey.registration(options, target.base_url)
    refused["a challenge of the person's other session"] = await person.register(answer, stolen)
    response = await person.register(answer)
    trial.allow("an honest passkey is enrolled", response, of="enrol")
    for name, one in refused.items():
        trial.refuse(name, one, statuses=REFUSED, of="enrol")
    trial.refuse("the same registration again", await person.register(answer), statuses=REFUSED, of="enrol")
    person.passkey, person.id = passkey, str(response.json().get("passkey", "")) if response.is_success else ""
    return person


async def _settled(person: Person, response: httpx2.Response) -> httpx2.Response:
    """Take away what a lie got in, so that the next one is tried under the same conditions."""
    if response.is_success:
        await forget_factor(person.target, person.persona)
    return response


async def _enrol_options(person: Person) -> dict[str, Any]:
    return await options_from(await person.client.get(person.routes.enrol, headers=JSON), person.routes.enrol)


async def _signing_in(person: Person, trial: Trial) -> None:
    client, options = await person.at_the_door()
    answer = person.signed(options)
    trial.allow("signing in with the passkey", await person.enter(client, answer), of="sign-in")
    me = await client.get(person.target.sign_in.me, headers=JSON)
    told = me.json() if me.status_code == 200 else {}
    trial.expect(
        "it is the person's own session, with both factors",
        expected=f"{person.persona.user_id}, AAL 2", observed=f"{told.get('user_id')}, AAL {told.get('aal')}",
        ok=told.get("user_id") == person.persona.user_id and told.get("aal") == 2,
    )  # fmt: skip
    trial.refuse("the same assertion again", await person.enter(client, answer), statuses=REFUSED, of="sign-in")
    before = await _alerts(person.target)
    for name, lies in {**ASSERTION_LIES, "without saying whose it is": {"handle": None}}.items():
        trial.refuse(f"signing in {name}", await person.sign_in(lies), statuses=REFUSED, of="sign-in")
    if before is not None:
        after = await _alerts(person.target) or 0
        trial.expect(
            "the counter that went backwards raised an alert", expected="1", observed=after - before,
            ok=after - before == 1,
        )  # fmt: skip
    trial.expect(
        "after all that the honest passkey still works",
        expected="200", observed=(last := await person.sign_in()), ok=last.status_code == 200,
    )  # fmt: skip


async def _alerts(target: Target) -> int | None:
    if target.document.database is None:
        return None
    async with target.db_owner() as db:
        table = target.database.audit_table
        count: int = await db.fetchval(f"SELECT count(*) FROM {table} WHERE kind = 'identity.factor-alert'")
        return count


async def _challenges(person: Person, trial: Trial) -> None:
    """Of another browser, of another session, too late, and by eight at once."""
    client, options = await person.at_the_door()
    other, _ = await person.at_the_door()
    theirs = await person.enter(other, person.signed(options))
    answers = await asyncio.gather(*(person.enter(client, signed) for signed in [person.signed(options)] * RACERS))
    won = sum(answer.is_success for answer in answers)
    observed = f"{won} of {RACERS} succeeded"
    trial.allow("one assertion, eight times at once, works", observed, ok=won > 0, of="challenge")
    trial.refuse("it works more than once", observed, ok=won <= 1, expected=f"1 of {RACERS}", of="challenge")
    trial.refuse("a challenge of another browser", theirs, statuses=REFUSED, of="challenge")
    half, second = [await person.target.half_signed_in(person.persona) for _ in range(2)]
    options = await person.prove_options(half)
    swapped = await person.prove(person.signed(options), second)
    good = await person.prove(person.signed(options), half)
    trial.allow("proving the second factor of a session", good, of="session")
    trial.refuse("the challenge of one's other session", swapped, statuses=REFUSED, of="session")
    if person.target.document.database is None:
        return
    client, options = await person.at_the_door()
    proving = await person.prove_options(second)
    async with person.target.db_owner() as db:
        for table in ("sign_in_transactions", "passkey_challenges"):
            await db.execute(f"UPDATE seawall.{table} SET expires_at = now() - interval '1 second'")
    late = await person.enter(client, person.signed(options))
    trial.refuse("signing in with a challenge after its time", late, statuses=REFUSED, of="challenge")
    late = await person.prove(person.signed(proving), second)
    trial.refuse("proving with a challenge after its time", late, statuses=REFUSED, of="session")


async def _malformed(person: Person, trial: Trial) -> None:
    """What nobody's browser sends. Refused, and never a crash."""
    for name, broken in (MESSAGES | ASSERTIONS).items():
        client, options = await person.at_the_door()
        entered = await person.enter(client, broken(person.signed(options)))
        trial.refuse(f"signing in with {name}", entered, statuses=REFUSED, of="sign-in")
        proved = await person.prove(broken(person.signed(await person.prove_options())))
        trial.refuse(f"proving with {name}", proved, statuses=REFUSED, of="session")


async def _owners(person: Person, stranger: Person, trial: Trial) -> None:
    """A credential is of one account, and only its owner's sessions take it."""
    options = await _enrol_options(stranger)
    copy = Passkey(person.own.rp_id, unb64(options["user"]["id"]), id=person.own.id)
    taken = await stranger.register(copy.registration(options, person.target.base_url))
    stranger.passkey, enrolled = await stranger.enrol()
    if not trial.allow(f"{stranger.persona.name} enrols a passkey", enrolled, of="owner"):
        return
    trial.refuse("a credential that is another person's already", taken, statuses=REFUSED, of="owner")
    trial.refuse("another person's passkey for the second factor", await person.prove(
        stranger.signed(await person.prove_options())), statuses=REFUSED, of="owner",
    )  # fmt: skip
    lies = {"handle": person.own.user_handle}
    trial.refuse("signing in as whom the handle names", await stranger.sign_in(lies), statuses=REFUSED, of="owner")


async def _step_up(person: Person, trial: Trial) -> None:
    """The assertion approves exactly what its challenge was made for."""
    action = Action.of(person.target)
    first, second = await person.challenges(action, 2)
    swapped = await person.approve(second, person.signed(await person.step_up_options(first)))
    plain = await person.approve(first, person.signed(await person.prove_options()))
    answer = person.signed(await person.step_up_options(first))
    unsure = person.signed(await person.step_up_options(first), {"verified": False})
    trial.allow("a step-up approved with the passkey", await person.approve(first, answer), of="step-up")
    trial.refuse("one action's assertion for another", swapped, statuses=REFUSED, of="step-up")
    trial.refuse("an assertion that was made for the second factor only", plain, statuses=REFUSED, of="step-up")
    trial.refuse("the same assertion again", await person.approve(first, answer), statuses=REFUSED, of="step-up")
    trial.refuse("it for the other action", await person.approve(second, answer), statuses=REFUSED, of="step-up")
    trial.refuse("approving by an authenticator that verified nobody", await person.approve(second, unsure),
        statuses=REFUSED, of="step-up",
    )  # fmt: skip


async def _approved(person: Person, response: httpx2.Response) -> None:
    """Approve what the answer asks for; nothing, when it asks for nothing."""
    if response.status_code == 401:
        await person.approve(approval_address(response))


async def _changes(person: Person, trial: Trial) -> None:
    """Further passkeys and removals need a factor; what is removed is dead, and the other sessions end."""
    wanted = await person.client.get(person.routes.enrol, headers=JSON)
    await _approved(person, wanted)
    allowed = await person.client.get(person.routes.enrol, headers=JSON)
    trial.allow("a further passkey, approved with the first", allowed, of="change")
    trial.refuse("a further passkey without", wanted, statuses={401, 403}, of="change")
    if not person.routes.remove or not person.id:
        trial.unproven("target.json names no address for removing a passkey")
        return
    address = person.routes.remove.replace("{passkey}", person.id)
    other = await person.target.fresh(person.persona)
    refused = await person.client.post(address, headers=JSON)
    await _approved(person, refused)
    removed = refused if refused.is_success else await person.client.post(address, headers=JSON)
    trial.allow("removing it, approved with itself", removed, of="change")
    trial.refuse("removing it without", refused, statuses={401, 403}, of="change")
    trial.refuse("signing in with what was removed", await person.sign_in(), statuses=REFUSED, of="sign-in")
    me = await other.get(person.target.sign_in.me, headers=JSON)
    trial.refuse("the person's other session, afterwards", me, statuses={401}, of="change")
