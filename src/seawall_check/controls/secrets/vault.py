"""Secrets live in a vault; the app reads them by its own identity, on a lease

Why
    A secret in the source, in a settings file or in the environment is copied with every backup, image, crash report
    and support ticket, and nobody can say who has read it. In a vault it is read by an identity, for a time, and that
    can be ended.
How it is attacked
    As the app's identity, what the app needs is read: its master secret and its database passwords. Then the same
    identity tries to write secrets, to rotate and to destroy keys, to read another app's secrets and the vault's
    configuration; somebody without a token tries to read. The token must run out. The app's database role is tried
    without a password, with a wrong one, and with the vault's. Every real secret is then looked for in the source tree,
    the settings, the command line and the environment of the app's process, and its log.
How to fix
    Move the secret into the vault (`docs/guide/secrets.md`) and set `[secrets]`; give the app's role the policy that
    `seawall vault policy app` prints.
"""

from __future__ import annotations

import re

import asyncpg

from seawall_check.control import Control
from seawall_check.controls.secrets._vault import (
    RealSecrets,
    VaultAs,
    files_of,
    is_private,
    process_text,
    secret_id_of,
    vault_as,
)
from seawall_check.errors import Unproven
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="secrets/vault",
    title="Secrets live in a vault; the app reads them by its own identity, on a lease",
    refs=("ASVS 13.3.1", "ASVS 13.3.2", "ASVS 13.2.3"),
)

LEASE_MAX_S = 86_400
WRAPPED = "wrapped:"
KEY = "seawall-check"
FORBIDDEN = frozenset({400, 403, 404, 405})
TELLING = re.compile(r"(?i)(secret|password|passwd|token|api_?key|private_?key|credential)")
HARMLESS = re.compile(r"(?i)(_FILE|_NAMESPACE|_PATH|_DIRECTORY|_URL|_ADDRESS|_PREFIX|_MOUNT|_ROLE|_AUTH|_S|_MS)$")
"""What such a variable says is where a secret is, not what it is."""
OWN = re.compile(r"^(SEAWALL_|DATABASE_|VAULT_|BAO_)")
"""Variables of the app; others are the shell's of whoever runs the check."""
PASSWORD_IN_URL = re.compile(r"://[^/@\s:]*:[^@/\s]+@")


async def check(target: Target, trial: Trial) -> None:
    places = target.secrets
    async with vault_as(target, places.app) as app:
        await _reads(trial, target, app)
        await _no_more(trial, target, app)
        trial.expect(
            "the app's token runs out",
            expected=f"within {LEASE_MAX_S} s, and renewable",
            observed=f"after {app.lease_s} s, {'renewable' if app.renewable else 'not renewable'}",
            ok=0 < app.lease_s <= LEASE_MAX_S and app.renewable,
        )
    async with vault_as(target, None) as nobody:
        await _refused(trial, nobody, "GET", f"{places.kv}/data/{places.master}", "the master secret, without a token")
    _identity_file(trial, target)
    await _database(trial, target)
    await _nowhere_else(trial, target)


async def _reads(trial: Trial, target: Target, app: VaultAs) -> None:
    places = target.secrets
    read = [("its master secret", f"{places.kv}/data/{places.master}")]
    read += [(f"the password of {role}", f"{places.database}/static-creds/{role}") for role in places.roles]
    for what, path in read:
        response = await app.call("GET", path)
        trial.allow(f"the app reads {what}", f"{response.status_code}", ok=response.status_code == 200)
    made = await app.call("POST", f"{places.transit}/keys/{KEY}", {"type": "aes256-gcm96"})
    trial.allow("the app makes a key for a new tenant", f"{made.status_code}", ok=made.status_code < 300)


async def _no_more(trial: Trial, target: Target, app: VaultAs) -> None:
    """What a break-in into the app must not be able to do with the app's identity."""
    places = target.secrets
    await _refused(trial, app, "POST", f"{places.kv}/data/planted", "write a secret", {"data": {"a": "b"}})
    await _refused(
        trial, app, "POST", f"{places.kv}/data/{places.master}", "replace the master secret", {"data": {"value": "b"}}
    )
    destroy = {"versions": [1]}
    await _refused(trial, app, "PUT", f"{places.kv}/destroy/{places.master}", "destroy the master secret", destroy)
    await _refused(trial, app, "POST", f"{places.transit}/keys/{KEY}/rotate", "rotate a key", {})
    deletable = {"deletion_allowed": True}
    await _refused(trial, app, "POST", f"{places.transit}/keys/{KEY}/config", "make a key deletable", deletable)
    await _refused(trial, app, "GET", f"{places.transit}/export/encryption-key/{KEY}", "take a key out of the vault")
    await _refused(trial, app, "DELETE", f"{places.transit}/keys/{KEY}", "destroy a key")
    for role in places.roles:
        await _refused(trial, app, "POST", f"{places.database}/rotate-role/{role}", f"change {role}'s password", {})
    await _refused(trial, app, "GET", f"{places.database}/config/server", "read how the vault reaches the database")
    await _refused(trial, app, "GET", "another-app/kv/data/master", "read another app's secrets")
    await _refused(trial, app, "GET", "sys/mounts", "read the vault's configuration")
    await _refused(trial, app, "GET", "sys/policies/acl/root", "read policies")


async def _refused(trial: Trial, identity: VaultAs, method: str, path: str, what: str, body: object = None) -> None:  # noqa: PLR0917
    response = await identity.call(method, path, body)
    trial.refuse(
        f"{what} ({method} {path.rpartition('/')[2]})",
        f"{response.status_code}",
        ok=response.status_code in FORBIDDEN,
        expected="403",
    )


def _identity_file(trial: Trial, target: Target) -> None:
    identity = target.secrets.app
    private = is_private(identity.secret_id_file)
    trial.expect(
        "the app's secret id can be read by its owner only", expected="mode 0600",
        observed="as wanted" if private else "open to others", ok=private,
    )  # fmt: skip
    wrapped = secret_id_of(identity).startswith(WRAPPED)
    trial.expect(
        "its wrapping was opened by the app, once", expected="opened",
        observed="still wrapped" if wrapped else "opened", ok=not wrapped,
    )  # fmt: skip


async def _database(trial: Trial, target: Target) -> None:
    """The app's roles need the vault's password, over the way that the app takes."""
    places = target.secrets
    if not places.roles:
        trial.unproven("target.json names no database role")
    async with vault_as(target, places.app) as app:
        for role, url in places.roles.items():
            password = str((await app.data(f"{places.database}/static-creds/{role}"))["password"])
            target.redactor.learn(password)
            told = await sign_in(url, password)
            trial.allow(f"{role} signs in with the vault's password", told, ok=told == "let in", of=role)
            for what, wrong in (("without a password", None), ("with another password", password[::-1])):
                told = await sign_in(url, wrong)
                trial.refuse(f"{role} signs in {what}", told, ok=told != "let in", expected="refused", of=role)


async def sign_in(url: str, password: str | None) -> str:
    """What the database says to that: `let in`, or the error's name. Raises Unproven when it does not answer."""
    try:
        # an empty password is not sent at all, and none would be looked for in files of ours
        connection = await asyncpg.connect(url, password=password or "", timeout=10, passfile="/dev/null")
    except asyncpg.PostgresError as error:
        return type(error).__name__
    except asyncpg.InterfaceError as error:
        return type(error).__name__
    except OSError as error:
        raise Unproven(f"the database does not answer: {type(error).__name__}") from None
    await connection.close()
    return "let in"


async def _nowhere_else(trial: Trial, target: Target) -> None:
    real = await RealSecrets.of(target)
    read = 0
    for path in files_of(target.source):
        if path.resolve().is_relative_to(target.secrets.app.secret_id_file.resolve().parent.parent):
            continue  # the development vault's own folder
        read += 1
        found = real.within(path.read_bytes().decode("utf-8", "replace"))
        if found:
            name = path.relative_to(target.source)
            trial.expect(f"no secret in {name}", expected="none", observed=", ".join(found), ok=False)
    trial.expect("no secret in the app's folder", expected="files read", observed=f"{read} files read", ok=read > 0)
    _log(trial, target, real)
    _process(trial, target, real)


def _log(trial: Trial, target: Target, real: RealSecrets) -> None:
    found = real.within(target.log())
    trial.expect("no secret in the app's log", expected="none", observed=", ".join(found) or "none", ok=not found)


def _process(trial: Trial, target: Target, real: RealSecrets) -> None:
    pid = target.document.process_id
    if pid is None:
        trial.unproven("target.json names no process id")
        return
    environment, command = process_text(pid, "environ"), process_text(pid, "cmdline")
    found = real.within(environment) + real.within(command)
    for line in environment.splitlines():
        name, _, value = line.partition("=")
        if not value or not OWN.match(name):
            continue
        if (TELLING.search(name) and not HARMLESS.search(name)) or PASSWORD_IN_URL.search(value):
            target.redactor.learn(value)
            found.append(f"the variable {name}")
    trial.expect(
        "no secret in the environment or on the command line of the app's process",
        expected="none",
        observed=", ".join(found) or f"none in {len(environment.splitlines())} variables",
        ok=not found,
    )
