"""Sessions are opaque tokens held by the server: only a hash is stored, and they end at once, everywhere.

Why
    A session that lives in a signed cookie cannot be taken back; a token stored in clear signs in whoever reads a
    backup.
How it is attacked
    Every text and byte column of the database is searched for a live token. Invented, altered and hashed tokens are
    presented. Then sessions are ended in each way there is, and used once more, for their own account and for a reading
    route of the app: by signing out, by signing out everywhere, by a role that is given and one that is taken, and by
    another process that only writes to the database.
How to fix
    Use the sessions of `seawall.identity`; change roles through `people`, which ends the sessions of whom it
    concerns; keep no cache of sessions.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass

import httpx2

from seawall_check.control import Control
from seawall_check.controls._requests import Call, first_allowed, row
from seawall_check.controls._sweep import places_of
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.http import Operation
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/server-sessions",
    title="Opaque 256-bit tokens, only their hash stored; sign-out and role change end them at once",
    refs=("ASVS 7.2.1", "ASVS 7.2.3", "ASVS 7.4.1", "ASVS 7.4.2"),
    exclusive=True,
)

TOKEN_BITS_MIN = 256
"""ASVS 7.2.3 asks for 128; a token that is looked up by its hash and never typed can have twice that for nothing."""
JSON = {"Accept": "application/json"}


async def check(target: Target, trial: Trial) -> None:
    persona = _quiet_persona(target)
    client = await target.fresh(persona)
    trial.allow("a live session", await _me(target, client))
    await _entropy(target, trial, persona, client)
    await _stored(target, trial, client)
    await _forged(target, trial, target.session_token(client))
    door = Door(target, trial, await _a_read(target, persona))
    await _ended(door, persona)
    await _role_change(door, persona)


def _quiet_persona(target: Target) -> Persona:
    """Somebody who is not the first of a role, if possible, so that others' sessions are left alone."""
    if not target.personas:
        raise Unproven("there is no persona to sign in as")
    return target.personas[-1]


async def _me(target: Target, client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.get(target.sign_in.me, headers=JSON)


async def _with_token(target: Target, token: str) -> httpx2.Response:
    cookie = {"Cookie": f"{target.sign_in.session_cookie}={token}"}
    return await target.anonymous().get(target.sign_in.me, headers={**JSON, **cookie})


async def _entropy(target: Target, trial: Trial, persona: Persona, client: httpx2.AsyncClient) -> None:
    tokens = {target.session_token(one) for one in (client, await target.fresh(persona), await target.fresh(persona))}
    fewest = min(_bits(token) for token in tokens)
    prefixes = {token[:8] for token in tokens}
    trial.expect(
        f"three sessions of one person have three tokens of {TOKEN_BITS_MIN} bits that begin differently",
        expected=f"3 tokens, room for {TOKEN_BITS_MIN} bits",
        observed=f"{len(tokens)} tokens, {len(prefixes)} beginnings, room for {fewest} bits",
        ok=len(tokens) == len(prefixes) == 3 and fewest >= TOKEN_BITS_MIN,
    )
    personal = (persona.user_id, persona.user_id.replace("-", ""), persona.login, persona.tenant)
    shown = [token for token in tokens for word in personal if word and word in _decoded(token)]
    trial.expect(
        "a token says nothing about the person",
        expected="no id, address or tenant in it",
        observed=f"{len(shown)} found",
        ok=not shown,
    )


def _bits(token: str) -> int:
    """How many bits its characters have room for: those of hexadecimal digits for four each, others for six."""
    try:
        return len(bytes.fromhex(token)) * 8
    except ValueError:
        return len(token) * 6


def _decoded(token: str) -> str:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raw = b""
    return f"{token} {raw.decode('latin-1')} {raw.hex()}"


async def _stored(target: Target, trial: Trial, client: httpx2.AsyncClient) -> None:
    token = target.session_token(client)
    digest = hashlib.sha256(token.encode()).digest()
    async with target.db_owner() as db:
        seen = await places_of(db, digest) + await places_of(db, digest.hex().encode())
        clear = await places_of(db, token.encode())
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        clear += await places_of(db, raw) if len(raw) >= 16 else []
    # Finding the hash shows that the search looks where sessions are kept.
    trial.allow("the search finds the token's SHA-256", ", ".join(seen) or "nowhere", ok=bool(seen), of="stored")
    trial.refuse(
        "the token itself is in no column",
        ", ".join(clear) or "nowhere",
        ok=not clear,
        expected="nowhere",
        of="stored",
    )


async def _forged(target: Target, trial: Trial, token: str) -> None:
    trial.allow("the token in a cookie by hand", await _with_token(target, token), of="forged")
    digest = hashlib.sha256(token.encode()).digest()
    altered = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    for name, value in {
        "an invented token": secrets.token_urlsafe(32),
        "a token with its end altered": altered,
        "a token cut short": token[:-1],
        "a token with more behind it": f"{token}A",
        "a token in the other case": token.swapcase(),
        "the stored hash in place of the token": digest.hex(),
        "the stored hash in base64": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "an empty token": "",
        "a token of 4,000 characters": "A" * 4_000,
        "SQL in place of a token": "'OR'1'='1",
    }.items():
        trial.refuse(name, await _with_token(target, value), statuses={400, 401}, of="forged")


async def _a_read(target: Target, persona: Persona) -> Call | None:
    """A reading route that this persona may call: what a session is for."""
    for operation in target.operations:
        if operation.method == "GET" and row(target, operation):
            found = await first_allowed(target, operation, [persona])
            if found is not None:
                return found[0]
    return None


@dataclass(frozen=True)
class Door:
    """Where a token is presented: at its own account, and at a route of the app, which may remember on its own."""

    target: Target
    trial: Trial
    read: Call | None

    async def opens(self, what: str, token: str, of: str) -> None:
        self.trial.allow(what, await _with_token(self.target, token), of=of)
        if self.read is not None:
            self.trial.allow(f"{what}: {self.read.operation.name}", await self._reads(token), of=of)

    async def is_shut(self, what: str, token: str, of: str) -> None:
        self.trial.refuse(what, await _with_token(self.target, token), statuses={401}, of=of)
        if self.read is not None:
            self.trial.refuse(f"{what}: {self.read.operation.name}", await self._reads(token), statuses={401}, of=of)

    async def _reads(self, token: str) -> httpx2.Response:
        cookie = {"Cookie": f"{self.target.sign_in.session_cookie}={token}"}
        assert self.read is not None  # noqa: S101 - for the type checker; both callers look
        return await self.read.operation.send(self.target.anonymous(), self.read.values, headers=cookie)


async def _ended(door: Door, persona: Persona) -> None:
    target, trial, how = door.target, door.trial, door.target.sign_in
    if not how.sign_out or not how.sign_out_everywhere:
        raise Unproven("target.json names no address for signing out")
    one, other = await target.fresh(persona), await target.fresh(persona)
    tokens = target.session_token(one), target.session_token(other)
    for token in tokens:
        await door.opens("a session before signing out", token, "sign-out")
    trial.allow("signing out", await one.post(how.sign_out, headers=JSON), of="sign-out")
    await door.is_shut("its token after that", tokens[0], "sign-out")
    await door.opens("the other session lives on", tokens[1], "everywhere")

    third = await target.fresh(persona)
    kept = target.session_token(third)
    trial.allow("signing out everywhere", await other.post(how.sign_out_everywhere, headers=JSON), of="everywhere")
    await door.is_shut("the session that asked", tokens[1], "everywhere")
    await door.is_shut("a session on another device", kept, "everywhere")

    # What another process does is seen only in the database: a process that remembers sessions would not notice.
    token = target.session_token(await target.fresh(persona))
    await door.opens("a session before another process ends it", token, "process")
    async with target.db_owner() as db:
        await db.execute(
            "UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'judge' WHERE token_hash = $1",
            hashlib.sha256(token.encode()).digest(),
        )
    await door.is_shut("its token right after", token, "process")


async def _role_change(door: Door, persona: Persona) -> None:
    """A role that is given, and the same taken again: the session from before is over each time."""
    target, trial = door.target, door.trial
    found = _granting(target, persona)
    if found is None:
        raise Unproven(
            "no route of the OpenAPI document gives a person a role ([check.routes] with a `role` in its body)"
        )
    operation, body, actor = found
    token = target.session_token(await target.fresh(persona))
    await door.opens("a session before its person's role changes", token, "role")
    granter = await target.fresh(actor)
    response = await operation.send(granter, {"user_id": persona.user_id}, body=body)
    if not trial.allow(f"{actor.name} gives {persona.name} a role", response, of="role"):
        return
    await door.is_shut("the session from before the change", token, "role")
    again = (await _me(target, granter)).status_code
    trial.expect("the person who gave the role stays signed in", expected="200", observed=again, ok=again == 200)
    taking = [one for one in target.operations if one.method == "DELETE" and one.path_names == ("user_id", "role")]
    if not taking:
        trial.unproven("no route of the OpenAPI document takes a role from a person, by `user_id` and `role`")
        return
    token = target.session_token(await target.fresh(persona))
    await door.opens("a session before a role is taken from its person", token, "taken")
    response = await taking[0].send(granter, {"user_id": persona.user_id, "role": body["role"]})
    if trial.allow(f"{actor.name} takes the role from {persona.name}", response, of="taken"):
        await door.is_shut("the session from before that", token, "taken")


def _granting(target: Target, persona: Persona) -> tuple[Operation, dict[str, str], Persona] | None:
    """The route that gives a role, a body for it, and a persona of the same tenant who may call it."""
    rows = target.expectations.get("routes", {})
    for operation in target.operations:
        row = rows.get(operation.name, {})
        body = row.get("body", {})
        if operation.method != "POST" or operation.path_names != ("user_id",) or "role" not in body:
            continue
        actors = [p for p in target.who(tenant=persona.tenant) if p.role in row.get("allow", ()) and p != persona]
        if actors:
            return operation, dict(body), actors[0]
    return None
