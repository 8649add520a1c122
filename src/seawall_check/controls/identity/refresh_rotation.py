"""Refresh tokens rotate; reuse ends the family; eight tabs, a lost answer or a crash log nobody out.

Why
    A refresh token lives for weeks, so a stolen one is worth most. Rotation notices the theft, when two use what one
    was given; but a rotation that takes two tabs, or a retry after a lost answer, for a thief logs honest people out,
    and is then switched off.
How it is attacked
    Eight tabs refresh at the same moment, several rounds: all must get one and the same successor. An answer is lost
    and asked for again an hour later. Then the thief: a parent after its child was used, and a grandparent, must end
    the whole family at once, with an audit event and an alert. A forged token, another key and a proof that is wrong
    must neither refresh nor use up nor end anything.
How to fix
    Lock the family's row, derive the successor from the token so that a retry is the same, end the family on any other
    reuse, and check the proof before anything is used up. `seawall.identity` does.
"""

from __future__ import annotations

import asyncio

import httpx2

from seawall_check.control import Control
from seawall_check.controls.identity._api import signed_in, somebody
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.oauth import Api, Key, claims_of
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/refresh-rotation",
    title="Refresh tokens rotate, reuse ends the family, and no race or lost answer logs anybody out",
    refs=("ASVS 10.4.5", "ASVS 10.4.8", "RFC 9700", "RFC 9449"),
    timeout_s=240,
)

TABS = 8
ROUNDS = 4
NOT_GIVEN = {400, 401}
AGED = "UPDATE seawall.client_grants SET rotated_at = rotated_at - make_interval(secs => $2) WHERE id = $1::uuid"
"""Lets time pass for one family."""


async def check(target: Target, trial: Trial) -> None:
    persona = somebody(target)
    await _rotates(target, trial, persona)
    await _tabs(target, trial, persona)
    await _lost(target, trial, persona)
    await _strangers(target, trial, persona)
    await _reuse(target, trial, persona)
    await _grandparent(target, trial, persona)


async def _rotates(target: Target, trial: Trial, persona: Persona) -> None:
    api, _ = await signed_in(target, persona)
    first = api.refresh_token
    trial.allow("refreshing", await api.refresh(), of="rotation")
    trial.allow("the new access token", await api.get(target.sign_in.me), of="rotation")
    trial.expect(
        "the refresh token is another one",
        expected="another",
        observed="the same" if api.refresh_token == first else "another",
        ok=api.refresh_token != first,
    )
    stored = await _stored(target, api.refresh_token)
    trial.expect("it is in no column of the database", expected="nowhere", observed=stored or "nowhere", ok=not stored)


async def _stored(target: Target, token: str) -> str:
    from seawall_check.controls._sweep import places_of

    async with target.db_owner() as db:
        return ", ".join(await places_of(db, token.encode()))


async def _tabs(target: Target, trial: Trial, persona: Persona) -> None:
    api, _ = await signed_in(target, persona)
    given: list[int] = []
    successors: list[int] = []
    for _ in range(ROUNDS):
        token = api.refresh_token
        answers = await asyncio.gather(*(api.refresh(token, keep=False) for _ in range(TABS)))
        good = [answer.json() for answer in answers if answer.status_code == 200]
        given.append(len(good))
        successors.append(len({body["refresh_token"] for body in good}))
        if not good:
            break
        api.access_token, api.refresh_token = good[-1]["access_token"], good[-1]["refresh_token"]
        if (await api.get(target.sign_in.me)).status_code != 200:
            given.append(0)
            break
    trial.expect(
        f"{TABS} tabs refresh at the same moment, {ROUNDS} times: all stay signed in, with one successor",
        expected=f"{[TABS] * ROUNDS} answered, {[1] * ROUNDS} successors",
        observed=f"{given} answered, {successors} successors",
        ok=given == [TABS] * ROUNDS and successors == [1] * ROUNDS,
    )


async def _lost(target: Target, trial: Trial, persona: Persona) -> None:
    api, _ = await signed_in(target, persona)
    lost = await api.refresh(keep=False)
    await _age(target, api, 3_600)
    again = await api.refresh()
    same = again.status_code == 200 and again.json()["refresh_token"] == lost.json().get("refresh_token")
    trial.expect(
        "an answer that was lost, asked for again after an hour",
        expected="200 and the same successor",
        observed=f"{again.status_code}{' and the same successor' if same else ''}",
        ok=same,
    )
    alive = (await api.get(target.sign_in.me)).status_code
    trial.expect("the client is still signed in", expected="200", observed=alive, ok=alive == 200)


async def _strangers(target: Target, trial: Trial, persona: Persona) -> None:
    api, _ = await signed_in(target, persona)
    trial.allow("the client refreshes", await api.refresh(), of="stranger")
    token, url = api.refresh_token, str(api.metadata["token_endpoint"])
    key = api.key or Key.fresh()
    altered = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    tries = {
        "another key": await api.refresh(keep=False, key=Key.fresh()),
        "no proof": await api.refresh(keep=False, proof=""),
        "a proof for another address": await api.refresh(
            keep=False, proof=key.proof("POST", f"{api.origin}/elsewhere", nonce=api.nonce)
        ),
        "a proof without a nonce": await api.refresh(keep=False, proof=key.proof("POST", url)),
        "its end altered": await api.refresh(altered, keep=False),
        "its beginning altered": await api.refresh(token[:8] + token[8:].swapcase(), keep=False),
        "the access token instead": await api.refresh(api.access_token, keep=False),
        "nothing": await api.refresh("", keep=False),
    }
    for name, answer in tries.items():
        trial.refuse(f"the refresh token with {name}", answer, statuses=NOT_GIVEN, of="stranger")
    proof = key.proof("POST", url, nonce=api.nonce)
    last = await api.refresh(proof=proof)
    trial.expect(
        "none of that has used the token up or ended the grant",
        expected="200",
        observed=last.status_code,
        ok=last.status_code == 200,
        artifact=last,
    )
    trial.refuse("the same proof again", await api.refresh(keep=False, proof=proof), statuses=NOT_GIVEN, of="stranger")


async def _reuse(target: Target, trial: Trial, persona: Persona) -> None:
    """The thief has the token and, as on a shared machine, the key."""
    api, _ = await signed_in(target, persona)
    parent = api.refresh_token
    trial.allow("refreshing", await api.refresh(), of="reuse")
    trial.allow("the child's access token is used", await api.get(target.sign_in.me), of="reuse")
    await _age(target, api, 300)
    stolen = await api.refresh(parent, keep=False)
    trial.refuse("the parent, after its child was used", stolen, statuses=NOT_GIVEN, of="reuse")
    await _family_is_dead(target, trial, api, "reuse")
    await _noticed(target, trial, api)


async def _grandparent(target: Target, trial: Trial, persona: Persona) -> None:
    api, _ = await signed_in(target, persona)
    first = api.refresh_token
    for _ in range(2):
        trial.allow("refreshing", await api.refresh(), of="grandparent")
    trial.allow("the newest access token", await api.get(target.sign_in.me), of="grandparent")
    again = await api.refresh(first, keep=False)
    trial.refuse("a grandparent, even at once", again, statuses=NOT_GIVEN, of="grandparent")
    await _family_is_dead(target, trial, api, "grandparent")


async def _family_is_dead(target: Target, trial: Trial, api: Api, of: str) -> None:
    trial.refuse("the family's access token after that", await api.get(target.sign_in.me), statuses={401}, of=of)
    newest: httpx2.Response = await api.refresh(keep=False)
    trial.refuse("the family's newest refresh token after that", newest, statuses=NOT_GIVEN, of=of)


async def _noticed(target: Target, trial: Trial, api: Api) -> None:
    if not target.database.audit_query:
        raise Unproven("target.json names no audit_query")
    grant = str(claims_of(api.access_token)["sid"])
    async with target.db_owner() as db:
        rows = await db.fetch(
            f"SELECT * FROM ({target.database.audit_query}) AS e WHERE kind = 'identity.client-grant'"
        )
    told = [row for row in rows if grant in str(dict(row)) and row["outcome"] == "refused"]
    trial.expect("the reuse is an audit event", expected="1 refused event", observed=len(told), ok=len(told) == 1)
    alerts = [line for line in target.log().splitlines() if grant in line and "alert=True" in line]
    trial.expect("and an alert in the log", expected="1 alert", observed=f"{len(alerts)} alerts", ok=len(alerts) == 1)


async def _age(target: Target, api: Api, seconds: int) -> None:
    async with target.db_owner() as db:
        await db.execute(AGED, str(claims_of(api.access_token)["sid"]), seconds)
