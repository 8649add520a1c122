"""docs/guide/production.md and secrets.md, done as they say: a PostgreSQL, an OpenBao, `seawall serve`.

Both servers are the embedded ones, each in a folder of its own, as if somebody else ran them. What the guides print for
whoever runs the vault is taken from the guides and run, so that they cannot say what does not work.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from seawall import scaffold
from seawall.secrets import EmbeddedVault
from seawall.secrets.embedded import _binary
from seawall.store.embedded import EmbeddedServer

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDE = (REPOSITORY / "docs/guide/secrets.md").read_text()
ORIGIN = "https://shop.example"
PASSWORD = "of-the-vaults-own-database-user"
PROVIDER = """
[identity.providers.work]
issuer = "https://login.example"
client_id = "shop"
title = "Company account"
"""


def printed(first: str) -> str:
    """The block of the guide that begins with these words."""
    [block] = [one for one in re.findall(r"```\w*\n(.*?)```", GUIDE, re.DOTALL) if one.startswith(first)]
    return block


@dataclass
class Premises:
    """The servers and the app's folder, and how somebody of them runs a command."""

    app: Path
    server: EmbeddedServer
    vault: EmbeddedVault
    files: Path
    env: dict[str, str] = field(default_factory=dict)

    def shell(self, script: str) -> str:
        """As whoever runs the vault: `bao` at hand, with a token that may do anything."""
        path = f"{Path(sys.executable).parent}:{self.files}:{os.environ['PATH']}"
        owner = {"BAO_ADDR": self.vault.address, "BAO_CACERT": str(self.vault.ca_file), "PATH": path,
                 "BAO_TOKEN": self.vault.root_token, "HOME": str(self.files)}  # fmt: skip
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.app, env=clean() | owner, text=True,
            capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def seawall(self, *arguments: str, identity: str = "operator", given: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "seawall", *arguments], cwd=self.app, env=self.environment(identity), text=True,
            input=given, capture_output=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def environment(self, identity: str) -> dict[str, str]:
        role = self.env[f"role-{identity}"]
        found = clean() | {
            "SEAWALL_ENV": "production",
            "SEAWALL_WEB__PUBLIC_ORIGIN": ORIGIN,
            "SEAWALL_SECRETS__ADDRESS": self.vault.address,
            "SEAWALL_SECRETS__CA_FILE": str(self.vault.ca_file),
            "SEAWALL_SECRETS__ROLE": role,
            "SEAWALL_SECRETS__CREDENTIAL_FILE": str(self.files / f"{identity}.secret-id"),
        }
        urls = {"DATABASE_URL": "app", "SEAWALL_DATABASE__IDENTITY_URL": "identity"}
        if identity == "operator":
            urls |= {f"SEAWALL_DATABASE__{role.upper()}_URL": role for role in ("migrator", "dispatcher", "worker")}
        return found | {name: self.server.address("shop", f"seawall_{role}") for name, role in urls.items()}


def clean() -> dict[str, str]:
    """The environment without what the tests' own servers put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SEAWALL_", "DATABASE_", "BAO_"))}


@pytest.fixture(scope="module")
async def premises(tmp_path_factory: pytest.TempPathFactory) -> Any:
    files = tmp_path_factory.mktemp("production")
    app = scaffold.new("restaurant", "shop", files)
    with (app / "seawall.toml").open("a") as settings:
        settings.write(PROVIDER)
    (files / "bao").symlink_to(_binary())
    with EmbeddedServer(files / "postgres") as server, EmbeddedVault(files / "vault") as vault:
        made = Premises(app, server, vault, files)
        await made_ready(made)
        yield made
    shutil.rmtree(files, ignore_errors=True)


async def made_ready(premises: Premises) -> None:
    """All that the guides tell, in their order."""
    superuser = await asyncpg.connect(premises.server.dsn("postgres"))
    await superuser.execute("CREATE DATABASE shop")
    await superuser.close()
    superuser = await asyncpg.connect(premises.server.dsn("shop"))
    await superuser.execute(premises.shell("seawall migrate --print-roles --database shop"))
    await superuser.execute(printed("CREATE ROLE vault").replace("'…'", f"'{PASSWORD}'"))
    await superuser.close()
    script = printed("bao secrets enable")
    for guide, here in (("@db/", f"@127.0.0.1:{premises.server.port}/"), ("password=…", f"password={PASSWORD}")):
        assert guide in script
        script = script.replace(guide, here)
    premises.shell(script)
    for identity in ("app", "operator"):
        read = f"bao read -field=role_id auth/approle/role/shop-{identity}/role-id"
        premises.env[f"role-{identity}"] = premises.shell(read)
    wrapped = printed("printf 'wrapped:")
    for identity in ("app", "operator"):
        file = str(premises.files / f"{identity}.secret-id")
        premises.shell(wrapped.replace("/run/shop/secret-id", file).replace("shop-app", f"shop-{identity}"))
    for arguments, given, says in (
        (("vault", "init"), "", "has a master secret"),
        (("vault", "init"), "", "nothing was changed"),
        (("vault", "put", "provider-work"), "from the provider", "version 1"),
        (("migrate",), "", "every table walled"),
    ):
        code, said = premises.seawall(*arguments, given=given)
        assert code == 0, said
        assert says in said


@dataclass
class Serving:
    process: subprocess.Popen[bytes]
    client: httpx2.Client
    log: Path


@pytest.fixture
def serving(premises: Premises) -> Iterator[Serving]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    log = premises.files / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "seawall", "serve", "--port", str(port), "--workers", "2"], cwd=premises.app,
            env=premises.environment("app"), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    # what a proxy that speaks https sends on
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"Host": "shop.example"}, timeout=10)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.get("/")
                break
            except httpx2.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield Serving(process, client, log)
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_it_serves_and_secrets_are_renewed_meanwhile(premises: Premises, serving: Serving) -> None:
    page = serving.client.get("/", headers={"Accept": "text/html"})
    assert page.status_code in {200, 302, 303, 307}, page.text
    assert "content-security-policy" in page.headers
    refused = serving.client.get("/api/orders")
    assert (refused.status_code, refused.json()["code"]) == (401, "not-signed-in")
    assert serving.client.get("/.well-known/jwks.json").status_code == 200, "identity's own role is let in as well"
    code, said = premises.seawall("rotate", "database", "signing-key")
    assert code == 0, said
    assert "the old one is refused" in said
    assert serving.client.get("/.well-known/jwks.json").status_code == 200
    assert "development" not in page.text
    secret = (premises.files / "app.secret-id").read_text()
    assert not secret.startswith("wrapped:"), "opened once, and kept"
    assert secret not in serving.log.read_text()


def test_the_app_may_not_do_an_operators_work(premises: Premises) -> None:
    for arguments in (("vault", "init"), ("vault", "put", "provider-work")):
        code, said = premises.seawall(*arguments, identity="app", given="x")
        assert (code, "Traceback" in said) == (2 if arguments[1] == "put" else 0, False), said
    code, said = premises.seawall("migrate", identity="app")
    assert (code, "migrator" in said) == (2, True)


@pytest.mark.parametrize("state", ["sealed", "absent", "somebody else's"])
def test_it_does_not_start_without_its_vault(premises: Premises, state: str) -> None:
    """And says in three lines what, why and how to mend it, instead of serving without keys."""
    environment = premises.environment("app")
    if state == "sealed":
        premises.vault.seal()
    elif state == "absent":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            environment["SEAWALL_SECRETS__ADDRESS"] = f"https://127.0.0.1:{free.getsockname()[1]}"
    else:
        environment["SEAWALL_SECRETS__ROLE"] = "00000000-0000-0000-0000-000000000000"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "seawall", "serve", "--port", "1"], cwd=premises.app, env=environment, text=True,
            capture_output=True, timeout=60,
        )  # fmt: skip
    finally:
        premises.vault.unseal()
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "refused the vault does not answer" in said
    assert "fix:" in said
    assert "Traceback" not in said
