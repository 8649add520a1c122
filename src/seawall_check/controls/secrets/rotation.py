"""Every secret can be renewed while the app runs, and the old one is refused after

Why
    The day a secret may have been seen, it must be replaced within minutes. Where that means an outage or an evening of
    editing settings, it is put off, and the old secret stays good for years.
How it is attacked
    Before the rotation, what a thief would have is kept: the master secret's version, a second factor sealed under it,
    the database passwords, a signed tenant context. Then `seawall rotate` runs while people keep using the app: it is
    killed with `kill -9` in the middle and run again, which must finish what was begun. All connections to the database
    are cut, so that new ones need the new passwords. Not one request may fail. The audit log must tell of each rotation
    that it began and that it ended, and of the killed one that it began. Then everything old is tried: it was accepted
    before and must be refused now, and the person's second factor must still work.
How to fix
    Take passwords and keys from the vault when they are used, not once at the start; seal under versions
    (`docs/guide/secrets.md`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import Action, Authenticator, dearer, enrol, forget_factor
from seawall_check.controls.secrets._vault import vault_as
from seawall_check.controls.secrets.vault import sign_in
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="secrets/rotation",
    title="Every secret can be renewed while the app runs, and the old one is refused after",
    refs=("ASVS 13.3.4", "ASVS 11.2.2"),
    timeout_s=300,
    exclusive=True,
)

COMMAND_TIMEOUT_S = 120.0
KIND = "secrets.rotation"
LOAD_EVERY_S = 0.02
LOAD_CLIENTS = 3
CUT = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename::text = ANY ($1)"""


async def check(target: Target, trial: Trial) -> None:
    if not target.secrets.rotate:
        raise Unproven("target.json names no command that rotates")
    factor = await _factor(target)
    before = await Before.of(target, factor)
    await before.works(trial)
    async with _load(target) as load:
        await _killed(target, trial)
        names = await _rotate(target, trial, [target.secrets.master, "database"])
    load.judge(trial, "requests while secrets were renewed")
    async with target.db_owner() as db:
        await db.execute(CUT, list(target.secrets.roles))
    await asyncio.sleep(0.5)  # until the app has heard of it
    async with _load(target) as load:
        await asyncio.sleep(1)
    load.judge(trial, "requests over new connections")
    names += await _rotate(target, trial, ["tenant-context", "--at-once"])
    await _recorded(target, trial, names)
    await before.refused(trial)


@dataclass
class Factor:
    """A person with a second factor, and a way to use it: the action of `[check.step_up]`, when there is one."""

    persona: Persona
    client: httpx2.AsyncClient
    authenticator: Authenticator
    action: Action
    path: dict[str, str]
    body: dict[str, Any]

    async def use(self) -> httpx2.Response:
        """Answer a fresh challenge with a code."""
        self.body = dearer(self.body)  # what was approved before would not be asked for again
        address = await self.action.challenge(self.client, self.path, self.body)
        return await self.client.post(address, json={"code": await self.authenticator.code()})


async def _factor(target: Target) -> Factor:
    action = Action.of(target)
    persona = action.personas(target)[-1]
    await forget_factor(target, persona)
    client = await target.fresh(persona)
    for path in action.objects(persona):
        response = await action.send(client, path, action.above)
        if response.status_code == 401:
            return Factor(persona, client, await enrol(target, client), action, path, action.above)
    raise Unproven(f"no object of {persona.name} asks for a second factor")


@dataclass
class Before:
    """What a thief took before the rotation."""

    target: Target
    factor: Factor
    versions: list[int]
    passwords: dict[str, str]
    context: str
    sealed: bytes

    @classmethod
    async def of(cls, target: Target, factor: Factor) -> Before:
        places = target.secrets
        async with vault_as(target, places.operator) as operator:
            versions = await _versions(operator.data, target)
            passwords = {}
            for role in places.roles:
                passwords[role] = str((await operator.data(f"{places.database}/static-creds/{role}"))["password"])
        target.redactor.learn(*passwords.values())
        async with target.db_owner() as db:
            context = await db.fetchval(
                "SELECT seawall.mint($1::uuid, $2::uuid, NULL, 'session')",
                factor.persona.tenant,
                factor.persona.user_id,
            )
            sealed = await db.fetchval(
                "SELECT sealed FROM seawall.totp_factors WHERE user_id = $1::uuid", factor.persona.user_id
            )
        if not sealed:
            raise Unproven("the second factor is not where it is looked for")
        return cls(target, factor, versions, passwords, str(context), bytes(sealed))

    async def works(self, trial: Trial) -> None:
        """What will be refused later is accepted now."""
        for role, password in self.passwords.items():
            told = await sign_in(self.target.secrets.roles[role], password)
            trial.allow(f"{role} signs in with its password", told, ok=told == "let in", of=role)
        told = await self._with_context(seconds=60)
        trial.allow("a tenant's context is accepted", told, ok=told == "accepted", of="context")
        trial.allow("the second factor is accepted", await self.factor.use(), of="sealed")

    async def refused(self, trial: Trial) -> None:
        """Everything that was taken is worth nothing any more, and people notice nothing."""
        await self._passwords(trial)
        told = await self._with_context(seconds=60)
        trial.refuse("a context signed with the old key", told, ok=told != "accepted", expected="refused", of="context")
        me = await self.factor.client.get(self.target.sign_in.me)
        trial.expect("the same session goes on", expected="200", observed=str(me.status_code), ok=me.status_code == 200)
        await self._master(trial)
        async with self.target.db_owner() as db:
            changed = await db.fetchval(
                "SELECT sealed <> $2 FROM seawall.totp_factors WHERE user_id = $1::uuid",
                self.factor.persona.user_id, self.sealed,
            )  # fmt: skip
        trial.expect(
            "the second factor was sealed anew", expected="another ciphertext",
            observed="another" if changed else "the same", ok=bool(changed),
        )  # fmt: skip
        used = await self.factor.use()
        trial.allow("the second factor is accepted after the rotation", used, of="sealed")
        async with self._put_back():
            old = await self.factor.use()
        trial.refuse(
            "a second factor sealed under the old master secret", old, ok=old.status_code >= 400, of="sealed",
            expected="refused",
        )  # fmt: skip

    async def _passwords(self, trial: Trial) -> None:
        async with vault_as(self.target, self.target.secrets.app) as app:
            for role, password in self.passwords.items():
                url = self.target.secrets.roles[role]
                told = await sign_in(url, password)
                trial.refuse(
                    f"{role} signs in with the old password", told, ok=told != "let in", expected="refused", of=role
                )
                new = str((await app.data(f"{self.target.secrets.database}/static-creds/{role}"))["password"])
                self.target.redactor.learn(new)
                told = await sign_in(url, new)
                trial.expect(f"{role} signs in with the new one", expected="let in", observed=told, ok=told == "let in")

    async def _master(self, trial: Trial) -> None:
        async with vault_as(self.target, self.target.secrets.operator) as operator:
            after = await _versions(operator.data, self.target)
        left = sorted(set(after) & set(self.versions))
        trial.expect(
            "versions of the master secret that can still be read",
            expected=f"a new one; not {', '.join(map(str, self.versions))}",
            observed=", ".join(map(str, after)) or "none",
            ok=bool(after) and not left,
        )

    async def _with_context(self, *, seconds: int) -> str:
        """Whether the database takes the old context, signed again with the key it was signed with if that is there."""
        database = self.target.database
        async with self.target.db_owner() as db:
            again = await db.fetchval(database.sign_context, self.context, seconds)
        async with self.target.db_app() as db:
            try:
                async with db.transaction():
                    await db.execute("SELECT set_config($1, $2, true)", database.context_setting, again or self.context)
                    found = await db.fetchval(f"SELECT {database.tenant_function}")
            except asyncpg.PostgresError as error:
                return f"refused: {error.sqlstate}"
        return "accepted" if str(found) == self.factor.persona.tenant else "not accepted"

    @contextlib.asynccontextmanager
    async def _put_back(self) -> AsyncIterator[None]:
        """The old ciphertext in place of the new one, for a moment."""
        change = "UPDATE seawall.totp_factors SET sealed = $2 WHERE user_id = $1::uuid"
        async with self.target.db_owner() as db:
            now = await db.fetchval(
                "SELECT sealed FROM seawall.totp_factors WHERE user_id = $1::uuid", self.factor.persona.user_id
            )
            await db.execute(change, self.factor.persona.user_id, self.sealed)
            try:
                yield
            finally:
                await db.execute(change, self.factor.persona.user_id, now)


async def _versions(data: Any, target: Target) -> list[int]:
    found = await data(f"{target.secrets.kv}/metadata/{target.secrets.master}")
    live = (one for one, about in found["versions"].items() if not about["destroyed"] and not about["deletion_time"])
    return sorted(int(one) for one in live)


@dataclass
class Load:
    """What people did meanwhile."""

    sent: int = 0
    failed: list[str] = field(default_factory=list)

    def judge(self, trial: Trial, what: str) -> None:
        trial.expect(
            what,
            expected=f"all of {self.sent} answered",
            observed=f"{self.sent - len(self.failed)} of {self.sent} answered",
            ok=self.sent > 0 and not self.failed,
            artifact="\n".join(self.failed),
        )


@contextlib.asynccontextmanager
async def _load(target: Target) -> AsyncIterator[Load]:
    """Signed-in people who keep asking, for as long as the context lasts."""
    load, ended = Load(), asyncio.Event()
    clients = [await target.client(persona) for persona in target.personas[:LOAD_CLIENTS]]

    async def ask(client: httpx2.AsyncClient) -> None:
        while not ended.is_set():
            load.sent += 1
            try:
                answer = await client.get(target.sign_in.me)
                if answer.status_code != 200:
                    load.failed.append(f"{answer.status_code} {answer.text[:200]}")
            except httpx2.TransportError as error:
                load.failed.append(type(error).__name__)
            await asyncio.sleep(LOAD_EVERY_S)

    asking = [asyncio.create_task(ask(client)) for client in clients]
    try:
        yield load
    finally:
        ended.set()
        await asyncio.gather(*asking)


async def _killed(target: Target, trial: Trial) -> None:
    """Begin to rotate the master secret and kill that in the middle."""
    process = await start(target, [target.secrets.master])
    try:
        async with vault_as(target, target.secrets.operator) as operator:
            before = await _versions(operator.data, target)
            for _ in range(int(COMMAND_TIMEOUT_S * 10)):
                if await _versions(operator.data, target) != before or process.returncode is not None:
                    break
                await asyncio.sleep(0.1)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    trial.expect(
        "a rotation is killed in the middle", expected="a new version, and killed",
        observed="killed" if process.returncode == -signal.SIGKILL else f"ended with {process.returncode}",
        ok=process.returncode == -signal.SIGKILL,
    )  # fmt: skip


async def _recorded(target: Target, trial: Trial, names: Sequence[str]) -> None:
    """Two events for each secret, so that nobody rotates unseen and one cut short shows; three for what was killed."""
    if not target.database.audit_query:
        trial.unproven("target.json names no audit_query, so nobody knows whether rotations are recorded")
        return
    async with target.db_owner() as db:
        rows = [str(dict(row)) for row in await db.fetch(target.database.audit_query) if row["kind"] == KIND]
    for name in names:
        wanted = 3 if name == target.secrets.master else 2
        count = sum(f'"{name}"' in row for row in rows)
        trial.expect(
            f"the audit log tells of the rotation of {name}", expected=f"{wanted} events {KIND}, or more",
            observed=f"{count} events", ok=count >= wanted,
        )  # fmt: skip


async def _rotate(target: Target, trial: Trial, names: Sequence[str]) -> list[str]:
    """Rotate these; gives the names of what was renewed."""
    process = await start(target, [*names, "--json"])
    try:
        out, said = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise Unproven(f"rotating {' '.join(names)} did not end within {COMMAND_TIMEOUT_S:.0f} s") from None
    try:
        done = json.loads(out or b"{}").get("rotated", [])
    except ValueError:
        done = []
    trial.expect(
        f"rotate {' '.join(names)}",
        expected="code 0, each with another version",
        observed=", ".join([f"code {process.returncode}", *(f"{one['name']} → {one['after']}" for one in done)]),
        ok=process.returncode == 0 and bool(done) and all(one["after"] != one["before"] for one in done),
        artifact=said.decode("utf-8", "replace"),
    )
    if target.secrets.master in names:
        resumed = [one for one in done if one["name"] == target.secrets.master and one.get("resumed")]
        trial.expect(
            "what the killed one had begun is finished, not begun again", expected="resumed",
            observed="resumed" if resumed else "not resumed", ok=bool(resumed),
        )  # fmt: skip
    return [str(one["name"]) for one in done]


async def start(target: Target, arguments: Sequence[str]) -> asyncio.subprocess.Process:
    """The command that rotates, running."""
    first, *rest = target.secrets.rotate
    beside = Path(sys.executable).parent / first
    changes = {key: value for key, value in target.change.env.items() if key == "SEAWALL_APP__MODULE"}
    return await asyncio.create_subprocess_exec(
        str(beside) if beside.is_file() else first,
        *rest,
        *arguments,
        cwd=target.source,
        env=os.environ | target.secrets.rotate_env | changes,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
