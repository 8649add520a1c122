"""`seawall person` on a running restaurant: somebody asks by letter for a copy, and at last to be forgotten."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from seawall import scaffold
from seawall.testing import RunningApp, running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running(scaffold.new("restaurant", "shop", tmp_path_factory.mktemp("person"))) as app:
        yield app


def person(shop: RunningApp, verb: str, *arguments: str) -> tuple[int, str]:
    command = shop.target["sealed"]["rotate"]
    done = subprocess.run(
        [*command["argv"][:3], "person", verb, *arguments], cwd=Path(shop.target["source"]),
        env=os.environ | command["env"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


async def rows(shop: RunningApp, sql: str, *arguments: Any) -> list[asyncpg.Record]:
    owner = await asyncpg.connect(shop.target["database"]["owner_url"])
    try:
        return await owner.fetch(sql, *arguments)
    finally:
        await owner.close()


async def told(shop: RunningApp, kind: str, who: str) -> list[dict[str, Any]]:
    found = await rows(shop, "SELECT body FROM seawall.audit_events WHERE kind = $1 AND body ->> 'user_id' = $2 "
                             "AND body ->> 'ticket' <> '' ORDER BY id", kind, who)  # fmt: skip
    return [json.loads(row["body"]) for row in found]


async def test_a_copy_is_the_one_that_they_would_get_themself(shop: RunningApp, tmp_path: Path) -> None:
    cora, file = shop.personas["harbour.customer"], tmp_path / "cora.json"
    own = shop.client("harbour.customer").get("/privacy/me/copy").json()
    arguments = (cora["login"].upper(), "--tenant", "harbour", "--output", str(file), "--ticket", "DSR-1042")
    code, said = person(shop, "copy", *arguments)
    assert code == 0, said
    given = json.loads(file.read_text())
    assert given["data"] == own["data"]
    assert any(given["data"].values()), "or nothing is shown by it"
    assert given["account"] == own["account"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cora["login"] not in said, "a terminal's scrollback is a copy too"
    [event] = await told(shop, "privacy.copy", cora["user_id"])
    assert event["ticket"] == "DSR-1042"
    assert event["rows"] == sum(map(len, given["data"].values()))
    assert len(event["operator"]) == 36, "the vault's id of the operator"
    again = person(shop, "copy", *arguments)
    assert again[0] != 0
    assert "exists" in again[1]
    assert len(await told(shop, "privacy.copy", cora["user_id"])) == 1, "nothing was given, so nothing is told"


async def test_what_is_refused(shop: RunningApp, tmp_path: Path) -> None:
    login = shop.personas["harbour.customer"]["login"]
    out = ("--output", str(tmp_path / "copy.json"))
    for arguments, what in (
        (("copy", login, "--tenant", "hill", *out), "nobody in this tenant"),
        (("copy", login, "--tenant", "nowhere", *out), "there is no tenant"),
        (("copy", login, *out), "--tenant"),
        (("copy", login, "--tenant", "harbour"), "--output"),
        (("copy", login, "--tenant", "harbour", *out, "--ticket", "Cora Quill asked"), "no spaces"),
        (("copy", login, "--tenant", "harbour", "--output", str(tmp_path / "no" / "copy.json")), "cannot write"),
        (("erase", shop.personas["harbour.owner"]["login"], "--tenant", "harbour", "--yes"), "the last who hold"),
    ):
        code, said = person(shop, *arguments)
        assert code != 0
        assert what in said, (arguments, said)
        assert "Traceback" not in said
    assert not list(tmp_path.iterdir())
    assert shop.client("harbour.owner").get("/auth/me").status_code == 200, "nothing of a refused erasure was done"


async def test_only_an_operators_context_names_somebody_else(shop: RunningApp) -> None:
    """The app's role may not call them, and a worker with an ordinary job is refused by the database."""
    owner = await asyncpg.connect(shop.target["database"]["owner_url"])
    cora = shop.personas["harbour.customer"]
    try:
        for role, context in (("seawall_app", "session"), ("seawall_worker", "job")):
            for function in ("about_subject", "forget_subject"):
                transaction = owner.transaction()
                await transaction.start()
                minted = await owner.fetchval(
                    "SELECT seawall.mint($1::uuid, NULL, $1::uuid, $2)", cora["tenant"], context
                )
                await owner.execute(f"SET LOCAL ROLE {role}")
                await owner.execute("SELECT set_config('seawall.ctx', $1, true)", minted)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await owner.fetchval(f"SELECT seawall.{function}($1::uuid)", cora["user_id"])
                await transaction.rollback()
    finally:
        await owner.close()


async def test_the_forgotten_are_gone_and_the_log_and_their_neighbour_stay(shop: RunningApp) -> None:
    cora, neighbour = shop.personas["harbour.customer"], shop.client("hill.customer")
    client, before = shop.client("harbour.customer"), neighbour.get("/privacy/me/copy").json()["data"]
    log = await rows(shop, "SELECT id, body::text FROM seawall.audit_events ORDER BY id")
    arguments = (cora["user_id"], "--tenant", "harbour", "--ticket", "letters/7")
    code, said = person(shop, "erase", *arguments)
    assert code != 0, "without --yes and without a terminal nobody has agreed"
    assert client.get("/auth/me").status_code == 200
    code, said = person(shop, "erase", *arguments, "--yes")
    assert code == 0, said
    assert client.get("/auth/me").status_code == 401
    with pytest.raises(AssertionError, match="could not sign in"):
        shop.half_sign_in("harbour.customer")
    assert neighbour.get("/privacy/me/copy").json()["data"] == before
    [event] = await told(shop, "privacy.erasure", cora["user_id"])
    assert (event["ticket"], event["gone"]) == ("letters/7", True)
    now = await rows(shop, "SELECT id, body::text FROM seawall.audit_events ORDER BY id")
    assert now[: len(log)] == log
    grants = "SELECT 1 FROM seawall.audit_events WHERE kind = 'access.grant' AND body ->> 'user_id' = $1 " \
             "AND body ->> 'change' = 'revoked'"  # fmt: skip
    assert len(await rows(shop, grants, cora["user_id"])) == 1
    code, said = person(shop, "erase", *arguments, "--yes")
    assert (code, "nobody in this tenant" in said) == (2, True)
