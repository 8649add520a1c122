"""The database itself verifies whose rows it shows.

Why
    If the tenant is a plain setting (`SET app.tenant = '…'`), then whoever can run SQL — by an injection, a debug
    console or a wrong line of code — can name any tenant. Here the setting is a context that only the database can
    mint, from a live session, signed and short-lived; so knowing another tenant's id is worth nothing.

How it is attacked
    As the app's own role. A context is taken from the session of a persona who has just signed in, and must work. Then
    come: none, an empty one, a bare tenant id, contexts with the tenant, any digit or the signature altered, cut off or
    doubled, one properly signed but expired (with a properly signed live one as its match), settings for the session
    and under other names, and sessions that do not exist or have ended. Where the app has jobs, claiming one gives its
    tenant's context, so neither the app's role may claim nor the one that a job runs as, or an injection into one
    tenant's job would take the next tenant's; and the role that claims may read no row. A used connection must come
    back empty. While another tenant's people work, the list of running statements is read again and again: whoever can
    read a context there can use it. Last, two people of two tenants call the running app in turns, many at a time, to
    catch a context left on a pooled connection.

How to fix
    Set the context only with `SET LOCAL`, in the message of `BEGIN`, from what `seawall.admit()` returned; `scope` does
    so. Never read the tenant from anything else than `seawall.tenant_id()` in a policy. Keep `track_activities` off for
    the app's role, as `seawall migrate --print-roles` does. Claim jobs as `seawall_dispatcher`, do them as
    `seawall_worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets

import asyncpg

from seawall_check.control import Control
from seawall_check.controls._database import Relation, fullest, live_context, under
from seawall_check.document import Tenant
from seawall_check.errors import Unproven
from seawall_check.probes.database import attempt, connect, identifier, literal
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="tenancy/verified-context",
    title="The database itself verifies whose rows it shows",
    refs=("ASVS 8.4.1", "ASVS 8.3.1"),
)

ROUNDS = 12
OVERHEAR_WORKERS, OVERHEAR_CALLS = 3, 25
EXPECTED = "no row, or an error"


async def check(target: Target, trial: Trial) -> None:
    mine, theirs = target.two_tenants()
    async with target.db_owner() as owner, target.db_app() as app:
        table = await fullest(target, owner, mine, theirs)
        context = await live_context(target, target.who(tenant=mine.id)[0])
        state, own, foreign = await _seen(target, app, table, mine, context)
        good = not state and own > 0 and not foreign
        trial.allow("use a live context", _told(state, own, foreign), ok=good, expected="own rows, no foreign one")
        for what, forged in _forgeries(context, mine, theirs).items():
            state, own, foreign = await _seen(target, app, table, mine, forged)
            trial.refuse(what, _told(state, own, foreign), ok=not own and not foreign, expected=EXPECTED)
        await _jobs(target, trial, app, table, context)
        await _expiry(target, trial, owner, app, context)
        await _settings(target, trial, app, table, theirs)
        await _afterwards(target, trial, app, table, context)
        await _sessions(target, trial, app)
        await _overhear(target, trial, app, theirs)
    await _pool(target, trial)


async def _seen(
    target: Target, app: asyncpg.Connection, table: Relation, mine: Tenant, context: str | None
) -> tuple[str, int, int]:
    """SQLSTATE, own rows, foreign rows seen under a context."""
    column = identifier(target.database.tenant_column)
    count = f"SELECT count(*) FILTER (WHERE {column}::text = $1), count(*) FROM {table.sql}"
    async with under(target, app, context):
        state, rows = await attempt(app, count, mine.id)
    return (state, rows[0][0], rows[0][1] - rows[0][0]) if rows else (state, 0, 0)


def _told(state: str, own: int, foreign: int) -> str:
    return f"refused with {state}" if state else f"{own} own and {foreign} foreign rows"


def _forgeries(context: str, mine: Tenant, theirs: Tenant) -> dict[str, str | None]:
    """Contexts that the database must not believe. They know nothing of its format but where the tenant's id stands."""
    cut = max((index for index, letter in enumerate(context) if not letter.isalnum()), default=len(context) // 2)
    head, tail = context[: cut + 1], context[cut + 1 :]
    digits = [index for index, letter in enumerate(context) if letter.isdigit()]
    forged: dict[str, str | None] = {
        "use no context": None,
        "use an empty context": "",
        "use the bare id of the own tenant": mine.id,
        "use the bare id of another tenant": theirs.id,
        "use what is no context at all": "' OR true --",
        "cut the signature off": context[:cut],
        "leave the signature empty": head,
        "use a signature of zeros": head + "0" * len(tail),
        "use a random signature of the same length": head + secrets.token_hex(len(tail))[: len(tail)],
        "add something after the signature": context + "0",
        "use it twice over": context + context,
        "use it with a NULL in place of the signature": head + "NULL",
    }
    if mine.id in context:
        forged["put another tenant's id into it"] = context.replace(mine.id, theirs.id)
        forged["put a tenant that does not exist into it"] = context.replace(mine.id, mine.id[:-12] + "0" * 12)
    for place in digits[:: max(1, len(digits) // 8)]:
        other = str((int(context[place]) + 1) % 10)
        forged[f"change its digit {place}"] = context[:place] + other + context[place + 1 :]
    return forged


async def _expiry(
    target: Target, trial: Trial, owner: asyncpg.Connection, app: asyncpg.Connection, context: str
) -> None:
    sign = target.database.sign_context
    if not sign:
        trial.unproven("target.json gives no sign_context, so an expired context cannot be tried")
        return
    for seconds in (20, -1, -3600):
        try:
            signed = await owner.fetchval(sign, context, seconds)
        except asyncpg.PostgresError as error:
            raise Unproven(f"sign_context of target.json does not work: {error}") from None
        target.redactor.learn(signed)
        async with under(target, app, signed):
            state, rows = await attempt(app, f"SELECT {target.database.tenant_function}::text")
        named = bool(rows and rows[0][0])
        observed = f"refused with {state}" if state else "names a tenant" if named else "names no tenant"
        if seconds > 0:
            trial.allow(f"use one that ends in {seconds} s", observed, ok=named, expected="names a tenant", of="expiry")
        else:
            what = f"use one that ended {-seconds} s ago"
            trial.refuse(what, observed, ok=not named, expected="an error, or no tenant", of="expiry")


async def _settings(target: Target, trial: Trial, app: asyncpg.Connection, table: Relation, theirs: Tenant) -> None:
    """What injected SQL would try: to set the tenant itself, for the session or under likely names."""
    names = dict.fromkeys((target.database.context_setting, "app.tenant_id", "app.current_tenant", "seawall.tenant_id"))
    for name in names:
        await app.execute(f"SET {name} = {literal(theirs.id)}")
        try:
            async with under(target, app, None):
                state, rows = await attempt(app, f"SELECT count(*) FROM {table.sql}")
        finally:
            await app.execute(f"RESET {name}")
        count = rows[0][0] if rows else 0
        observed = f"refused with {state}" if state else f"{count} rows"
        trial.refuse(f"SET {name} to another tenant's id for the session", observed, ok=count == 0, expected=EXPECTED)


async def _afterwards(target: Target, trial: Trial, app: asyncpg.Connection, table: Relation, context: str) -> None:
    """After a transaction with a context, the connection names nobody."""
    name = target.database.context_setting
    async with app.transaction():
        await app.execute("SELECT set_config($1, $2, true)", name, context)
        await app.fetchval(f"SELECT count(*) FROM {table.sql}")
    left = await app.fetchval("SELECT coalesce(current_setting($1, true), '')", name)
    _, rows = await attempt(app, f"SELECT count(*) FROM {table.sql}")
    count = rows[0][0] if rows else 0
    observed = f"{'a context' if left else 'no context'}, {count} rows"
    trial.refuse("use a connection again after a commit", observed, ok=not left and not count, expected="nothing left")


async def _sessions(target: Target, trial: Trial, app: asyncpg.Connection) -> None:
    """Only a live session is worth a context."""
    persona = target.personas[0]
    client = await target.fresh(persona)
    digest = hashlib.sha256(target.session_token(client).encode()).digest()
    admit = target.database.admit

    async def admitted(value: bytes | None) -> tuple[bool, str]:
        state, rows = await attempt(app, admit, value)
        return bool(rows), f"refused with {state}" if state else f"{len(rows)} admitted"

    live, told = await admitted(digest)
    trial.allow("be admitted with a live session", told, ok=live, expected="1 admitted", of="admission")
    never = {"a session that never was": secrets.token_bytes(32), "an empty hash": b"", "a NULL hash": None}
    for what, value in never.items():
        got, told = await admitted(value)
        trial.refuse(f"be admitted with {what}", told, ok=not got, expected="nobody admitted", of="admission")
    if not target.sign_in.sign_out:
        trial.unproven("target.json names no sign_out, so an ended session cannot be tried")
        return
    await client.post(target.sign_in.sign_out)
    got, told = await admitted(digest)
    trial.refuse("be admitted after signing out", told, ok=not got, expected="nobody admitted", of="admission")


async def _overhear(target: Target, trial: Trial, app: asyncpg.Connection, theirs: Tenant) -> None:
    """What another tenant's requests run shows in pg_stat_activity to everybody of the same role, contexts included."""
    persona = target.who(tenant=theirs.id)[0]
    client = await target.client(persona)
    lists = [one for one in target.operations if one.method == "GET" and not one.path_names]
    if not lists:
        trial.unproven("the API has no list to call while the running statements are read")
        return
    answers: list[int] = []
    heard: set[str] = set()

    async def work(worker: int) -> None:
        for turn in range(OVERHEAR_CALLS):
            response = await lists[(worker + turn) % len(lists)].send(client)
            answers.append(response.status_code)

    async def listen() -> None:
        while len(answers) < OVERHEAR_CALLS * OVERHEAR_WORKERS:
            rows = await app.fetch("SELECT query FROM pg_stat_activity WHERE strpos(query, $1) > 0", theirs.id)
            heard.update(row["query"] for row in rows)
            await asyncio.sleep(0)

    listening = asyncio.create_task(listen())
    try:
        await asyncio.gather(*(work(worker) for worker in range(OVERHEAR_WORKERS)))
    finally:
        answers.extend([0] * OVERHEAR_CALLS * OVERHEAR_WORKERS)  # whatever happened, the listener ends
        await listening
    good = sum(200 <= status < 300 for status in answers)
    trial.allow(
        f"call the API as {persona.name} from {OVERHEAR_WORKERS} sides at once",
        f"{good} answers of 2xx",
        ok=good > 0,
        expected="answers of 2xx",
        of="overhearing",
    )
    target.redactor.learn(*heard)
    trial.refuse(
        "read what names their tenant in pg_stat_activity meanwhile",
        f"{len(heard)} statements",
        ok=not heard,
        expected="none",
        of="overhearing",
    )


async def _jobs(target: Target, trial: Trial, app: asyncpg.Connection, table: Relation, context: str) -> None:
    """Whoever runs a job's statements claims none, and whoever claims reads none of the rows."""
    jobs = target.database.jobs
    if jobs is None:
        return  # the app has none
    mine = target.two_tenants()[0]
    async with contextlib.AsyncExitStack() as stack:
        claims, works = await connect(jobs.dispatcher_url), await connect(jobs.worker_url)
        stack.push_async_callback(claims.close)
        stack.push_async_callback(works.close)
        claimer, worker, other = [await one.fetchval("SELECT current_user") for one in (claims, works, app)]
        state, _ = await attempt(claims, jobs.claim)
        trial.allow(f"claim as {claimer}", state or "done", ok=not state, expected="done", of="claiming")
        for role, connection in {worker: works, other: app}.items():
            state, _ = await attempt(connection, jobs.claim)
            trial.refuse(f"claim as {role}", state or "done", ok=state == "42501", expected="42501", of="claiming")
        state, own, foreign = await _seen(target, works, table, mine, context)
        trial.allow(
            f"use a live context as {worker}",
            _told(state, own, foreign),
            ok=not state and own > 0 and not foreign,
            expected="own rows, no foreign one",
            of="working",
        )
        state, own, foreign = await _seen(target, claims, table, mine, context)
        refused = not own and not foreign
        trial.refuse(f"use it as {claimer}", _told(state, own, foreign), ok=refused, expected=EXPECTED, of="working")


async def _pool(target: Target, trial: Trial) -> None:
    """Two tenants in turns on the app's own pooled connections, with anonymous calls between them."""
    one, other = target.two_tenants()
    me = target.sign_in.me
    first, second = [target.who(tenant=tenant.id)[0] for tenant in (one, other)]
    clients = {persona.name: await target.client(persona) for persona in (first, second)}
    clients["nobody"] = await target.client()
    alone = {name: (await client.get(me)).text for name, client in clients.items() if name != "nobody"}

    async def ask(name: str) -> str:
        response = await clients[name].get(me)
        if name == "nobody":
            return "" if response.status_code in {401, 403} else f"nobody got {response.status_code}"
        return "" if _names(response.text, (one, other)) == _names(alone[name], (one, other)) else f"{name} differs"

    wrong = [told for told in await asyncio.gather(*(ask(name) for _ in range(ROUNDS) for name in clients)) if told]
    trial.expect(
        f"call {me} {ROUNDS * len(clients)} times at once as {first.name}, {second.name} and nobody",
        expected="everybody their own tenant, nobody none",
        observed=", ".join(sorted(set(wrong))) or "everybody their own tenant, nobody none",
        ok=not wrong and all(_names(alone[p.name], (one, other)) == {p.tenant} for p in (first, second)),
    )


def _names(text: str, tenants: tuple[Tenant, Tenant]) -> set[str]:
    return {tenant.id for tenant in tenants if tenant.id in text}
