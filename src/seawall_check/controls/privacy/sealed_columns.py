"""Personal data is encrypted before it reaches the database.

Why
    Databases are copied: into backups, replicas, staging, a laptop. Disk encryption does not travel along. What was
    encrypted by the app, under a key that the database has never seen, stays unreadable in every copy — in rows that
    were deleted long ago and in the write-ahead log, too.

How it is attacked
    Strings that occur nowhere else are written through the app's own API by its own people: into every member of a
    stated body that is named like a sealed column or like personal data (address, e-mail, phone …), and into one that
    is not. The app must show them to who wrote them. The actions of `[check.step_up]` and `[check.approval]` are tried
    with such strings in every free text, a reason for instance: what waits to be confirmed is kept, and may be anything
    that a form carries. Then, as the owner, all tables of all schemas are searched, as text and as hexadecimal bytes,
    and for what only looks encrypted: base64 and the like, and hashes without a key, as a blind index must not be; and
    after a checkpoint the database's own files — tables, TOAST, indexes, whatever is left of old rows — and the
    write-ahead log since, which together are what a base backup holds. The string that is not personal must be found in
    each place, or the search has proven nothing; the personal ones must not.

How to fix
    `address: Mapped[Sealed[str]]` in the model and `bytea` in its migration; `sealed(find=…)` where equal values must
    be found. See docs/guide/sealed-data.md.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import JSON, Action, approval_address
from seawall_check.controls._requests import Call, first_allowed, row, send, step_up_route
from seawall_check.controls._sealed import sealed_tables
from seawall_check.controls._sweep import places_of_all
from seawall_check.controls.access._asking import Needing, ask, wants_approval
from seawall_check.controls.privacy._disguises import disguises
from seawall_check.document import Persona, Tenant
from seawall_check.errors import Unproven
from seawall_check.probes.database import identifier
from seawall_check.probes.http import Operation, is_free_string, resolve
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="privacy/sealed-columns",
    title="Personal data is encrypted before it reaches the database",
    refs=("ASVS 11.3.2", "ASVS 11.3.3", "ASVS 11.3.4", "ASVS 14.2.4"),
)

PERSONAL = re.compile(
    r"(.*_)?(address|addressee|birth_?(day|date)|born|date_of_birth|e_?mail|fax|(first|last|family|full)_name|iban|mobile"
    r"|national_id|passport|phone|recipient|ssn|surname|tax_id)(_(number|no|line_?\d?|text))?"
)
NUMBERS_ONLY = re.compile(r"[0-9+() .-]*[0-9][0-9+() .-]*")
"""A stated value of digits and what telephone numbers are written with: the planted one is of digits, too."""
FILE_MAX_BYTES = 256 * 1024**2
SEARCH_TIMEOUT_S = 90.0

TABLES = """
SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
FILES = """
SELECT f.folder || '/' || f.name AS file, c.number
FROM (SELECT 'base/' || d.oid AS folder, pg_ls_dir('base/' || d.oid) AS name
      FROM pg_database d WHERE d.datname = current_database()
      UNION ALL
      SELECT 'pg_wal', w.name FROM pg_ls_waldir() AS w WHERE w.name >= $3) AS f,
     LATERAL (SELECT pg_read_binary_file(f.folder || '/' || f.name, 0, $2, true) AS data OFFSET 0) AS d,
     unnest($1::bytea[]) WITH ORDINALITY AS c (value, number)
WHERE d.data IS NOT NULL AND position(c.value IN d.data) > 0
"""


@dataclass
class Planted:
    """Strings that were written: where each came in, by the string."""

    personal: dict[str, str] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """The members' names that personal strings went into."""


async def check(target: Target, trial: Trial) -> None:
    columns = {column for table in sealed_tables(target) for column in table.columns}
    tenant = target.two_tenants()[0]
    async with target.db_owner() as owner:
        wal = await owner.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
        planted = await _plant(target, trial, tenant, columns)
        await _plant_what_waits(target, trial, planted)
        if not planted.personal or not planted.open:
            raise Unproven("no stated body takes text that is personal, and text that is not")
        missed = sorted(columns - planted.names)
        if missed:
            trial.unproven(f"nothing was planted in {', '.join(missed)}: no stated body has a member of that name")
        await _types(target, trial, owner)
        _judge(trial, planted, "all tables", await _in_tables(owner, planted))
        await _disguised(trial, owner, planted)
        await owner.execute("CHECKPOINT")
        files, logs = await _in_files(owner, planted, wal)
        _judge(trial, planted, "the database's files", files)
        _judge(trial, planted, "the write-ahead log", logs)


async def _plant(target: Target, trial: Trial, tenant: Tenant, columns: set[str]) -> Planted:
    planted = Planted()
    for operation in target.operations:
        stated = row(target, operation).get("body")
        if operation.safe or not isinstance(stated, Mapping) or operation.name == step_up_route(target):
            continue
        members = _members(operation, stated, columns)
        found = await first_allowed(target, operation, target.who(tenant=tenant.id)) if members else None
        if found is None:
            continue
        call, _ = found
        values = {name: _value(call.body[name], personal) for name, personal in members.items()}
        response = await send(target, Call(operation, call.persona, call.values, {**call.body, **values}))
        shown = {name for name, value in values.items() if value in response.text}
        if response.status_code >= 400 or not shown:
            continue  # what was not taken, or is not shown again, proves nothing
        for name in shown:
            kept = planted.personal if members[name] else planted.open
            kept[values[name]] = f"{name} of {operation.name}"
            planted.names |= {name} if members[name] else set()
        if any(members[name] for name in shown):
            told = f"{call.name} with {', '.join(sorted(shown))}"
            trial.allow(f"write and read back: {told}", response, of="planted")
    return planted


async def _plant_what_waits(target: Target, trial: Trial, planted: Planted) -> None:
    """In actions that wait: for a second factor, for another person."""
    if "step_up" in target.expectations:
        action = Action.of(target)
        tries = _tries(action.personas(target), action.operation)
        await _plant_in(target, trial, planted, action.operation, action.above, tries, "a second factor")
    if "approval" in target.expectations:
        needing = Needing.of(target)
        tries = _tries(target.who(role=needing.role), needing.operation)
        await _plant_in(target, trial, planted, needing.operation, needing.body, tries, "another person")


def _tries(personas: Sequence[Persona], operation: Operation) -> Iterator[tuple[Persona, dict[str, str]]]:
    name = operation.path_names[0]
    return ((persona, {name: one}) for persona in personas for one in persona.objects.get(name, ()))


async def _plant_in(  # noqa: PLR0917
    target: Target,
    trial: Trial,
    planted: Planted,
    operation: Operation,
    stated: Mapping[str, Any],
    tries: Iterator[tuple[Persona, dict[str, str]]],
    waits_for: str,
) -> None:
    """Send it with strings of our own until it waits, and see them on the page that asks for the confirmation."""
    names = _members(operation, stated, set())
    for persona, path in tries if names else ():
        values, why = {name: _value(stated[name], personal=True) for name in names}, _value("", personal=True)
        client = await target.client(persona)
        shown = await _waiting(client, await operation.send(client, path, body={**stated, **values}), why)
        if shown is not None and all(value in shown.text for value in values.values()):
            kept = {**values, "the reason to ask for it": why} if why in shown.text else values
            planted.personal |= {value: f"{name}, of {operation.name}, which waits" for name, value in kept.items()}
            trial.allow(f"{persona.name}: {operation.name} waits for {waits_for}, and says so", shown, of="planted")
            return
    trial.unproven(f"no string of ours was kept with {operation.name} until {waits_for} confirms it")


async def _waiting(client: httpx2.AsyncClient, denial: httpx2.Response, why: str) -> httpx2.Response | None:
    """What the app says of an action that waits; None when this one does not."""
    if wants_approval(denial):
        return await ask(client, denial, why)
    try:
        return await client.get(approval_address(denial), headers=JSON)
    except Unproven:
        return None


def _members(operation: Operation, stated: Mapping[str, Any], columns: set[str]) -> dict[str, bool]:
    """Text members of a stated body that something can be planted in, and whether each is personal."""
    properties = resolve(operation.body or {}, operation.document).get("properties", {})
    found = {}
    for name, value in stated.items():
        if not isinstance(value, str) or name not in properties or value.startswith("{"):
            continue
        personal = name in columns or PERSONAL.fullmatch(name) is not None
        if is_free_string(properties[name], operation.document) or (personal and NUMBERS_ONLY.fullmatch(value)):
            found[name] = personal
    return found


def _value(stated: str, personal: bool) -> str:
    if personal and NUMBERS_ONLY.fullmatch(stated):
        return "+1 555 " + "".join(secrets.choice("0123456789") for _ in range(14))
    return f"{'sealed' if personal else 'open'}{secrets.token_hex(9)}"


async def _types(target: Target, trial: Trial, owner: asyncpg.Connection) -> None:
    """A column that is named as sealed has no type that text could be put into."""
    for table in sealed_tables(target):
        for column in table.columns:
            kind = await owner.fetchval(
                "SELECT format_type(atttypid, NULL) FROM pg_attribute"
                " WHERE attrelid = $1::regclass AND attname = $2 AND NOT attisdropped",
                table.sql, column,
            )  # fmt: skip
            trial.expect(
                f"the type of {table}.{column}", expected="bytea", observed=kind or "absent", ok=kind == "bytea"
            )


async def _in_tables(owner: asyncpg.Connection, planted: Planted) -> dict[str, list[str]]:
    """String → the tables whose rows hold it, as text or as bytes."""
    wanted = [*planted.personal, *planted.open]
    found: dict[str, list[str]] = {}
    for schema, name in await owner.fetch(TABLES):
        sql = (
            f"SELECT DISTINCT w.value FROM {identifier(schema)}.{identifier(name)} t, unnest($1::text[]) AS w (value)"
            " WHERE strpos(t::text, w.value) > 0 OR strpos(t::text, encode(convert_to(w.value, 'UTF8'), 'hex')) > 0"
        )
        for (value,) in await owner.fetch(sql, wanted, timeout=SEARCH_TIMEOUT_S):
            found.setdefault(value, []).append(f"{schema}.{name}")
    return found


async def _disguised(trial: Trial, owner: asyncpg.Connection, planted: Planted) -> None:
    """Values that are stored in a way which anybody can undo, or compare with all values that there may be."""
    needles = {f"{value} {how}": held for value in planted.personal for how, held in disguises(value).items()}
    found = await places_of_all(owner, needles | {value: value.encode() for value in planted.open})
    seen = [value for value in planted.open if value in found]
    of = "disguised"
    trial.allow(
        "search every column for text that is not personal", f"{len(seen)} of {len(planted.open)} found", ok=bool(seen),
        expected="found", of=of,
    )  # fmt: skip
    for value, came_in in planted.personal.items():
        known = {how: found[f"{value} {how}"] for how in disguises(value) if f"{value} {how}" in found}
        told = "; ".join(f"{how}: {', '.join(places[:3])}" for how, places in known.items()) or "in no disguise"
        trial.refuse(f"search every column for the {came_in}, disguised", told, ok=not known, of=of,
                     expected="in no disguise")  # fmt: skip


async def _in_files(
    owner: asyncpg.Connection, planted: Planted, wal: str
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    wanted = [*planted.personal, *planted.open]
    digits = {value: re.sub(r"[^0-9]", "", value) for value in wanted if NUMBERS_ONLY.fullmatch(value)}
    needles = [*wanted, *digits.values()]
    whose = [*wanted, *digits]
    try:
        rows = await owner.fetch(
            FILES, [needle.encode() for needle in needles], FILE_MAX_BYTES, wal, timeout=SEARCH_TIMEOUT_S
        )
    except asyncpg.InsufficientPrivilegeError:
        raise Unproven("owner_url may not read the server's files, so they cannot be searched") from None
    files: dict[str, list[str]] = {}
    logs: dict[str, list[str]] = {}
    for file, number in rows:
        (logs if file.startswith("pg_wal/") else files).setdefault(whose[number - 1], []).append(file)
    return files, logs


def _judge(trial: Trial, planted: Planted, where: str, found: Mapping[str, list[str]]) -> None:
    of = f"planted in {where}"
    seen = [value for value in planted.open if value in found]
    trial.allow(
        f"search {where} for text that is not personal", f"{len(seen)} of {len(planted.open)} found", ok=bool(seen),
        expected="found", of=of,
    )  # fmt: skip
    for value, came_in in planted.personal.items():
        places = found.get(value, [])
        trial.refuse(
            f"search {where} for the {came_in}", f"in {', '.join(places[:3])}" if places else "nowhere", ok=not places,
            expected="nowhere", of=of,
        )  # fmt: skip
