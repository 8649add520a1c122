"""Sessions end by idleness and by age, and get a new token at sign-in and at step-up.

Why
    A forgotten tablet and a stolen token both live on for as long as the session does. A token that stays the same
    across a sign-in lets an attacker plant it before (fixation); across a step-up, it gives an old thief the new
    rights.
How it is attacked
    The app is started with timeouts of seconds. One session is left alone past the idle timeout, one is kept busy
    past the absolute one. Then tokens from before a sign-in and from before a step-up are used after it, and a
    token chosen by the attacker is offered for adoption.
How to fix
    Set `session.idle_timeout_s` and `session.absolute_timeout_s`; leave starting and renewing sessions to
    `seawall.identity`.
"""

from __future__ import annotations

import asyncio
import secrets
import time

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import enrol
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.sign_in import sign_in
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/session-lifetime",
    title="Idle and absolute timeouts; a new token at sign-in and at step-up",
    refs=("ASVS 7.3.1", "ASVS 7.3.2", "ASVS 7.2.4"),
)

IDLE_S = 3
ABSOLUTE_S = 7
BUSY_EVERY_S = 0.4
JSON = {"Accept": "application/json"}


async def check(target: Target, trial: Trial) -> None:
    if not target.personas:
        raise Unproven("there is no persona to sign in as")
    env = {
        "SEAWALL_SESSION__IDLE_TIMEOUT_S": str(IDLE_S),
        "SEAWALL_SESSION__ABSOLUTE_TIMEOUT_S": str(ABSOLUTE_S),
    }
    async with target.variant(env=env) as app:
        # one whose sign-in takes no second factor: with timeouts of seconds every step counts
        persona = next((p for p in app.personas if p.role not in app.sign_in.privileged_roles), app.personas[0])
        idle, busy = await app.fresh(persona), await app.fresh(persona)
        # The last persona, so that renewing its sessions does not touch the two that are being timed.
        await asyncio.gather(_idle(app, trial, idle), _busy(app, trial, busy), _renewal(app, trial, app.personas[-1]))


async def _me(app: Target, client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.get(app.sign_in.me, headers=JSON)


async def _idle(app: Target, trial: Trial, client: httpx2.AsyncClient) -> None:
    await asyncio.sleep(IDLE_S / 3)
    trial.allow("a session used within its idle timeout", await _me(app, client), of="idle")
    await asyncio.sleep(IDLE_S + 0.8)
    trial.refuse(f"a session left alone for more than {IDLE_S} s", await _me(app, client), statuses={401}, of="idle")


async def _busy(app: Target, trial: Trial, client: httpx2.AsyncClient) -> None:
    began = time.monotonic()
    alive_s, last = 0.0, await _me(app, client)
    while last.status_code == 200 and time.monotonic() - began < ABSOLUTE_S + 2:
        alive_s = time.monotonic() - began
        await asyncio.sleep(BUSY_EVERY_S)
        last = await _me(app, client)
    trial.allow(
        "a busy session outlives the idle timeout",
        f"alive after {alive_s:.1f} s",
        ok=alive_s > IDLE_S,
        expected=f"alive after more than {IDLE_S} s",
        of="absolute",
    )
    trial.refuse(
        f"a busy session older than {ABSOLUTE_S} s",
        f"{last.status_code}, alive for {alive_s:.1f} s",
        ok=last.status_code == 401 and alive_s <= ABSOLUTE_S + 1,
        expected="401",
        artifact=last,
        of="absolute",
    )


async def _renewal(app: Target, trial: Trial, persona: Persona) -> None:
    # A browser that already holds a value under the cookie's name, as after an attacker planted one.
    client, planted = await app.fresh(persona), secrets.token_urlsafe(32)
    for cookie in client.cookies.jar:
        if cookie.name == app.sign_in.session_cookie:
            cookie.value = planted
    await sign_in(client, app.sign_in, persona)
    first = app.session_token(client)
    trial.allow("the token given at sign-in", await _with_token(app, first), of="fixation")
    trial.refuse("a token planted before the sign-in", await _with_token(app, planted), statuses={401}, of="fixation")

    await sign_in(client, app.sign_in, persona)
    second = app.session_token(client)
    trial.allow("the token given at the second sign-in", await _with_token(app, second), of="renewed")
    trial.refuse("the token from before it", await _with_token(app, first), statuses={401}, of="renewed")

    client = await app.fresh(persona)
    before = app.session_token(client)
    trial.allow("the token before a second factor is proved", await _with_token(app, before), of="step-up")
    await enrol(app, client)
    after = app.session_token(client)
    trial.allow("the token after it", await _with_token(app, after), of="step-up")
    trial.refuse("the token from before it, afterwards", await _with_token(app, before), statuses={401}, of="step-up")


async def _with_token(app: Target, token: str) -> httpx2.Response:
    cookie = {"Cookie": f"{app.sign_in.session_cookie}={token}"}
    return await app.anonymous().get(app.sign_in.me, headers={**JSON, **cookie})
