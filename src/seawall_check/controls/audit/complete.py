"""What happened is written down, once, together with the change.

Why
    After an incident the log is all there is. An event written after the commit is missing exactly when the process
    died; one written before it tells of what never happened; two tell of what happened once. And a log that the app can
    rewrite, or that holds passwords and names, is a second incident.

How it is attacked
    One after the other: a sign-in, a refused sign-in, a sign-out, an allowed change, a change refused to somebody who
    may not make it, a role granted, money refunded, an ordinary read. For each, the log must hold exactly one event of
    its kind. Then the database is made to refuse a change at the moment of its commit, when everything has been
    written: the caller must get an error, the row must be gone and so must the event of success. The app's own role
    tries to read, change, delete and forge events. Last, every event is searched for passwords, session tokens, e-mail
    addresses, names, free text, JWTs and card numbers.

How to fix
    Record events with `scope.record(…)`, which writes them in the request's own transaction; put identifiers and
    numbers into them, never text that a person typed. Models whose every change must be recorded say `__audited__`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import httpx2

from seawall_check.control import Control
from seawall_check.controls._requests import Call, calls, first_allowed, row, send, step_up_route
from seawall_check.controls.audit._events import Recorded, holding, recorded, refusing_at_commit
from seawall_check.errors import Unproven
from seawall_check.probes.database import attempt, identifier
from seawall_check.probes.http import Operation, with_canary
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="audit/complete",
    title="What happened is written down, once, together with the change",
    refs=("ASVS 16.2.1", "ASVS 16.2.5", "ASVS 16.3.1", "ASVS 16.3.2", "ASVS 16.3.3"),
)

SIGN_IN, SIGN_OUT, DECISION = "identity.sign-in", "identity.sign-out", "access.decision"
GRANT, REFUND = "access.grant", "payments.refund"
TRACE = "x-trace-id"
READ_WAIT_S = 3.0
GRANTS = re.compile(r"(?i)\b(roles|grants|members|memberships)\b")
REFUNDS = re.compile(r"(?i)refund")
GRANT_TRIES = 3
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}")
DIGITS = re.compile(r"(?<![\w.-])\d{13,19}(?![\w.-])")


async def check(target: Target, trial: Trial) -> None:
    async with target.db_owner() as owner, target.db_app() as app:
        log = Log(target, trial, owner)
        await log.signing_in()
        change = await log.changes()
        await log.grant()
        await log.refund()
        await log.read()
        if change is not None:
            await log.rolled_back(change)
        await _out_of_reach(target, trial, app)
        await log.nothing_private()


@dataclass
class Log:
    """The audit log under trial."""

    target: Target
    trial: Trial
    owner: asyncpg.Connection

    async def _one(
        self, what: str, needle: str, kind: str, outcomes: Sequence[str] = ("success",), wait_s: float = 0
    ) -> bool:
        """Exactly one event of this kind, with one of these outcomes, tells of it."""
        events = [one for one in await recorded(self.target, self.owner, needle, wait_s=wait_s) if one.kind == kind]
        return self.trial.expect(
            what,
            expected=f"one {kind}, {' or '.join(outcomes)}",
            observed=", ".join(map(str, events)) or f"no {kind}",
            ok=len(events) == 1 and events[0].outcome in outcomes,
            artifact="\n".join(one.text for one in events) or None,
        )

    async def signing_in(self) -> None:
        persona = self.target.personas[0]
        client = await self.target.fresh(persona)
        digest = hashlib.sha256(self.target.session_token(client).encode()).digest()
        async with self.target.db_app() as app:
            admitted = await app.fetchrow(self.target.database.admit, digest)
        if admitted is None:
            raise Unproven(f"the session of {persona.name} is not admitted")
        session = str(admitted["session_id"])
        await self._one(f"sign in as {persona.name}", session, SIGN_IN)
        how = self.target.sign_in
        if how.callback:
            path = f"{how.callback}?code={secrets.token_hex(8)}&state={secrets.token_hex(8)}"
            refused = await self.target.anonymous().get(path, headers={"Accept": "application/json"})
            await self._one("return from a sign-in that nobody began", _trace(refused), SIGN_IN, ("refused", "failure"))
        if how.sign_out:
            response = await client.post(how.sign_out, headers={"Accept": "application/json"})
            await self._one(f"sign out as {persona.name}", _trace(response), SIGN_OUT)

    async def changes(self) -> tuple[Call, str] | None:
        """An allowed change and a refused one. Gives the call again, if its text can carry a marker."""
        marked: tuple[Call, str] | None = None
        for operation in self._writing():
            allowed = await first_allowed(self.target, operation, self.target.personas)
            if allowed is None:
                continue
            call, response = allowed
            await self._one(call.name, _trace(response), DECISION)
            await self._refused(call)
            marker = f"audit{secrets.token_hex(8)}"
            body, any_text = with_canary(operation, call.body, marker)
            if any_text:
                marked = (Call(operation, call.persona, call.values, body), marker)
                break
        if marked is None:
            self.trial.unproven("no writing route takes free text, so no change can be made to fail at its commit")
        return marked

    async def _refused(self, call: Call) -> None:
        allow = row(self.target, call.operation).get("allow", ())
        for persona in self.target.who(tenant=call.persona.tenant):
            if persona.role not in allow:
                response = await send(self.target, Call(call.operation, persona, call.values, call.body))
                if response.status_code in {401, 403, 404}:
                    what = f"{persona.name}: {call.operation.name}, refused with {response.status_code}"
                    await self._one(what, _trace(response), DECISION, ("refused",))
                return

    async def grant(self) -> None:
        """A role given anew; it is taken away first, as far as there is a route for that."""
        granting = self._stated("grant", GRANTS, "POST")
        if granting is None:
            self.trial.unproven("no route grants a role; name it as `grant` in [check.audit]")
            return
        takes = [one for one in self.target.operations if one.method == "DELETE" and one.path.startswith(granting.path)]
        for call in [one for one in calls(self.target, granting, self.target.personas)][:GRANT_TRIES]:
            for operation in takes:
                values = {name: ids[0] for name, ids in call.persona.objects.items() if ids} | dict(call.values)
                await send(self.target, Call(operation, call.persona, values, None))
            response = await send(self.target, call)
            events = await recorded(self.target, self.owner, _trace(response))
            if response.status_code < 400 and any(one.kind == GRANT for one in events):
                await self._one(f"{call.name} grants a role", _trace(response), GRANT)
                return
        self.trial.expect(f"{granting.name} grants a role", expected=f"one {GRANT}", observed="none", ok=False)

    async def refund(self) -> None:
        refunding = self._stated("refund", REFUNDS, "POST")
        if refunding is None:
            return  # an app without money
        # The last objects, because other controls use the first up to their limits.
        for call in reversed([*calls(self.target, refunding, self.target.personas)]):
            response = await send(self.target, call)
            if response.status_code < 400:
                await self._one(f"{call.name} gives money back", _trace(response), REFUND)
                return
        self.trial.unproven(f"{refunding.name} gave nobody money back")

    async def read(self) -> None:
        for operation in self.target.operations:
            found = None
            if operation.method == "GET" and operation.path_names:
                found = await first_allowed(self.target, operation, self.target.personas)
            if found is not None:
                await self._each_once(f"{found[0].name} reads", _trace(found[1]))
                return

    async def _each_once(self, what: str, needle: str) -> None:
        """A read may take more than one decision (on a venue, then on its dishes); each is told of, none twice."""
        events = await recorded(self.target, self.owner, needle, wait_s=READ_WAIT_S)
        events = [one for one in events if one.kind == DECISION]
        told = {one.said for one in events}
        self.trial.expect(
            what,
            expected=f"{DECISION} success, each decision once",
            observed=", ".join(map(str, events)) or f"no {DECISION}",
            ok=bool(events) and len(told) == len(events) and all(one.outcome == "success" for one in events),
            artifact="\n".join(one.text for one in events) or None,
        )

    async def rolled_back(self, change: tuple[Call, str]) -> None:
        call, marker = change
        response = await send(self.target, call)
        self.trial.allow(f"{call.name}, with a marker", response, of="commit")
        tables = await holding(self.target, self.owner, marker)
        if not tables:
            self.trial.unproven(f"{call.name} stores its text nowhere, so its commit cannot be made to fail")
            return
        marker_failing = f"{marker}x"
        body, _ = with_canary(call.operation, call.body, marker_failing)
        async with refusing_at_commit(self.target, self.owner, tables, marker_failing):
            response = await send(self.target, call, body=body)
        events = [one for one in await recorded(self.target, self.owner, _trace(response)) if one.outcome == "success"]
        rows = await holding(self.target, self.owner, marker_failing)
        self.trial.refuse(
            f"{call.name}, when the database refuses the commit",
            f"{response.status_code}; {len(rows)} rows; events of success: {', '.join(map(str, events)) or 'none'}",
            ok=response.status_code >= 400 and not events and not rows,
            expected="an error to the caller, no row, and no event of success",
            artifact=response,
            of="commit",
        )

    async def nothing_private(self) -> None:
        events = await recorded(self.target, self.owner)
        self.trial.allow(
            "read the whole log", f"{len(events)} events", ok=bool(events), expected="events", of="private"
        )
        private = await self._private()
        found = sorted({f"{what} in {event.kind}" for event in events for what in _found(event, private)})
        self.trial.refuse(
            f"search {len(events)} events for secrets and personal data",
            ", ".join(found) or "none",
            ok=not found,
            expected="none",
            of="private",
        )

    async def _private(self) -> dict[str, str]:
        """What must be in no event: text → what it is."""
        private: dict[str, str] = {}
        for persona in self.target.personas:
            private[persona.login] = "a login"
            private[persona.password] = "a password"
            client = await self.target.client(persona)
            private[self.target.session_token(client)] = "a session token"
            me = (await client.get(self.target.sign_in.me, headers={"Accept": "application/json"})).json()
            if isinstance(me, dict) and len(str(me.get("name", ""))) > 4:
                private[str(me["name"])] = "a person's name"
        for operation in self.target.operations:
            for text in _texts(row(self.target, operation).get("body", {})):
                private.setdefault(text, "free text of a request")
        return private

    def _writing(self) -> list[Operation]:
        """Changing routes that the author allows to some roles and not to all, the money route last of all."""
        roles = {persona.role for persona in self.target.personas}
        found = []
        for operation in self.target.operations:
            allow = set(row(self.target, operation).get("allow", ()))
            if not operation.safe and operation.body is not None and allow and roles - allow:
                found.append(operation)
        return sorted(found, key=lambda one: (one.name == step_up_route(self.target), bool(GRANTS.search(one.path))))

    def _stated(self, name: str, likely: re.Pattern[str], method: str) -> Operation | None:
        """The route that `[check.audit]` names, else the one whose path says so."""
        stated = self.target.expectations.get("audit", {}).get(name)
        for operation in self.target.operations:
            if operation.name == stated or (
                not stated and operation.method == method and likely.search(operation.path)
            ):
                return operation
        return None


def _trace(response: httpx2.Response) -> str:
    """The trace id that the answer carries. Without one, events could not be told apart."""
    trace = response.headers.get(TRACE, "")
    if not trace:
        raise Unproven(f"{response.request.url.path} answers without {TRACE}")
    return trace


def _texts(body: object) -> list[str]:
    """The texts of a stated body that are long enough to be told from ordinary words."""
    values = body.values() if isinstance(body, dict) else []
    return [value for value in values if isinstance(value, str) and len(value) > 8 and "{" not in value]


def _found(event: Recorded, private: dict[str, str]) -> list[str]:
    found = [what for text, what in private.items() if text in event.text]
    found += ["an e-mail address"] if EMAIL.search(event.text) else []
    found += ["a JWT"] if JWT.search(event.text) else []
    return found + ["a card number" for digits in DIGITS.findall(event.text) if _luhn(digits)]


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 check digit."""
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


async def _out_of_reach(target: Target, trial: Trial, app: asyncpg.Connection) -> None:
    """The app's role can append through its function and do nothing else."""
    state, rows = await attempt(app, "SELECT current_user::text")
    name = target.database.audit_table
    trial.allow("connect as the app's role", state or rows[0][0], ok=not state, expected="connected", of="reach")
    table = ".".join(identifier(part) for part in name.split("."))
    for what, statement in {
        "read": f"SELECT * FROM {table}",
        "change": f"UPDATE {table} SET kind = 'forged'",
        "delete": f"DELETE FROM {table}",
        "empty": f"TRUNCATE {table}",
        "insert past the function into": f"INSERT INTO {table} DEFAULT VALUES",
    }.items():
        state, _ = await attempt(app, statement)
        trial.refuse(
            f"{what} {name} as the app's role", state or "done", ok=state == "42501", expected="42501", of="reach"
        )
