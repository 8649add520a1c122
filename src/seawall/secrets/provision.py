"""An app's place in a vault: engines under its prefix, two identities with the least that each needs.

    <prefix>-app         the running app: reads its secrets, wraps and unwraps data keys, makes keys of new tenants
    <prefix>-operator    `seawall rotate` and erasure: also writes secrets, rotates, retires and destroys keys

Development does this by itself. In production whoever runs the vault does it once, with `seawall vault policy app` and
`seawall vault policy operator`.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import requests

from seawall.core.errors import Refused
from seawall.secrets.client import Mounts
from seawall.secrets.login import WRAPPING_PREFIX, AppRole
from seawall.secrets.master import MASTER, new_master
from seawall.store.private import private_text, write_private
from seawall.store.roles import APP as ROLE_APP
from seawall.store.roles import BREAKGLASS, DISPATCHER, IDENTITY, WORKER

APP, OPERATOR = "app", "operator"
ROLES = (ROLE_APP, IDENTITY, WORKER, DISPATCHER, BREAKGLASS)
"""The database roles that the running app, and whatever does its jobs, may sign in as."""
TOKEN_LIFETIME_S = 3_600
TOKEN_LIFETIME_MAX_S = 86_400
WRAPPING_LIFETIME_S = 120
PASSWORD_LIFETIME_S = 86_400
READY_ATTEMPTS, READY_EVERY_S = 100, 0.05

_UPDATE = ["update"]


def policy(prefix: str, identity: str, database_mount: str = "") -> dict[str, list[str]]:
    """Path → capabilities of an identity. `database_mount` is said when it is not `<prefix>/database`.

    `encrypt` is `update` only: with `create`, the engine would make a key that is not there, and wrapping after a
    tenant's key was destroyed would quietly give the tenant a new one.
    """
    mounts = Mounts(prefix)
    database = database_mount or mounts.database
    app = {
        f"{mounts.kv}/data/*": ["read"],
        f"{mounts.kv}/metadata/*": ["read"],
        f"{mounts.transit}/keys/+": ["create", "update", "read"],  # `+`: not `keys/…/config`, not `keys/…/rotate`
        f"{mounts.transit}/encrypt/*": _UPDATE,
        f"{mounts.transit}/decrypt/*": _UPDATE,
        **{f"{database}/static-creds/{role}": ["read"] for role in ROLES},
    }
    if identity == APP:
        return app
    return app | {
        f"{mounts.kv}/data/*": ["create", "update", "read"],
        f"{mounts.kv}/metadata/*": ["read", "list"],
        f"{mounts.kv}/destroy/*": _UPDATE,
        f"{mounts.transit}/keys/+": ["create", "update", "read", "delete"],
        f"{mounts.transit}/keys/+/config": ["create", "update"],
        f"{mounts.transit}/keys/+/rotate": ["create", "update"],
        f"{mounts.transit}/keys": ["list"],
        f"{database}/static-creds/*": ["read"],
        f"{database}/rotate-role/*": _UPDATE,
        f"{database}/static-roles": ["list"],
        "auth/token/lookup-self": ["read"],  # its own id, for the audit log
    }


def policy_document(prefix: str, identity: str, database_mount: str = "") -> str:
    """The policy as the vault takes it (JSON, which is also HCL)."""
    paths = policy(prefix, identity, database_mount)
    return json.dumps({"path": {path: {"capabilities": can} for path, can in paths.items()}}, indent=2)


@dataclass(frozen=True)
class Provisioner:
    """Makes and removes an app's place, with a token that may do anything: development only. Blocking."""

    address: str
    ca_file: Path
    token: str

    def make(self, prefix: str, folder: Path, *, database_mount: str = "") -> dict[str, AppRole]:
        """Engines, policies, roles and secret ids, where they are missing. Gives how each identity signs in.

        Args:
            prefix: the app's.
            folder: where the secret ids are kept, mode 0600.
            database_mount: the database engine, when it is not `<prefix>/database`.
        """
        with self.signed_in() as client:
            mounts = Mounts(prefix)
            there = client.sys.list_mounted_secrets_engines()["data"]
            if f"{mounts.kv}/" not in there:
                _unless_there(lambda: client.sys.enable_secrets_engine("kv", path=mounts.kv, options={"version": "2"}))
            if f"{mounts.transit}/" not in there:
                _unless_there(lambda: client.sys.enable_secrets_engine("transit", path=mounts.transit))
                # with it, `encrypt` under a key that is not there makes one (see `policy`)
                client.adapter.post(f"/v1/{mounts.transit}/config/keys", json={"disable_upsert": True})
            if "approle/" not in client.sys.list_auth_methods()["data"]:
                _unless_there(lambda: client.sys.enable_auth_method("approle"))
            self._first_master(client, mounts)
            return {one: self._identity(client, prefix, one, folder, database_mount) for one in (APP, OPERATOR)}

    def give_passwords(self, mount: str, url: str, roles: Sequence[str]) -> None:
        """Hand the passwords of database roles to the vault: a static role of its database engine for each.

        Args:
            mount: the engine's path; one a server, since roles are the server's.
            url: how the vault reaches the server, as somebody who may change those passwords.
            roles: their names.
        """
        with self.signed_in() as client:
            if f"{mount}/" not in client.sys.list_mounted_secrets_engines()["data"]:
                _unless_there(lambda: client.sys.enable_secrets_engine("database", path=mount))
            client.adapter.post(
                f"/v1/{mount}/config/server",
                json={
                    "plugin_name": "postgresql-database-plugin",
                    "connection_url": url,
                    "allowed_roles": list(roles),
                    # or the statement log of the server would show the password
                    "password_authentication": "scram-sha-256",
                },
            )
            there = _listed(client, f"/v1/{mount}/static-roles")
            for role in roles:
                if role not in there:
                    client.adapter.post(
                        f"/v1/{mount}/static-roles/{role}",
                        json={"db_name": "server", "username": role, "rotation_period": f"{PASSWORD_LIFETIME_S}s"},
                    )

    def password(self, mount: str, role: str) -> str:
        """The password that the vault has for a role."""
        with self.signed_in() as client:
            return str(client.adapter.get(f"/v1/{mount}/static-creds/{role}")["data"]["password"])

    def renew_password(self, mount: str, role: str) -> None:
        """A new one, in the vault and in the database."""
        with self.signed_in() as client:
            client.adapter.post(f"/v1/{mount}/rotate-role/{role}", json={})

    def remove(self, prefix: str) -> None:
        """Take everything of an app away: its keys are destroyed with their engine."""
        with self.signed_in() as client:
            mounts = Mounts(prefix)
            for mount in (mounts.database, mounts.transit, mounts.kv):
                client.sys.disable_secrets_engine(mount)
            for identity in (APP, OPERATOR):
                client.adapter.delete(f"/v1/auth/approle/role/{prefix}-{identity}")
                client.sys.delete_policy(f"{prefix}-{identity}")

    def prefixes(self) -> list[str]:
        """The apps that have a place here."""
        with self.signed_in() as client:
            there = client.sys.list_mounted_secrets_engines()["data"]
        return sorted(path.removesuffix("/kv/") for path in there if path.endswith("/kv/"))

    def _first_master(self, client: hvac.Client, mounts: Mounts) -> None:
        body = {"data": dict(new_master()), "options": {"cas": 0}}
        for _ in range(READY_ATTEMPTS):
            try:
                client.adapter.post(f"/v1/{mounts.kv}/data/{MASTER}", json=body)
            except hvac.exceptions.InvalidRequest as error:
                if "check-and-set" in " ".join(str(one) for one in error.errors or ()) and self._has_master(
                    client, mounts
                ):
                    return  # there is one
                time.sleep(READY_EVERY_S)  # a KV engine takes a moment to become version 2, and says so with a 400
            else:
                # While it becomes version 2, an engine has been seen to take a secret and then not to have it.
                if self._has_master(client, mounts):
                    return
                time.sleep(READY_EVERY_S)
        raise Refused(
            f"the vault does not take a secret at {mounts.kv}",
            why="the app's master secret is kept there",
            fix="look into the vault's log, .seawall/vault/vault.log",
        )

    @staticmethod
    def _has_master(client: hvac.Client, mounts: Mounts) -> bool:
        try:
            found = client.adapter.get(f"/v1/{mounts.kv}/metadata/{MASTER}")
        except (hvac.exceptions.InvalidPath, hvac.exceptions.InvalidRequest):
            return False
        return bool(found["data"]["versions"])

    def _identity(self, client: hvac.Client, prefix: str, identity: str, folder: Path, database_mount: str) -> AppRole:
        name = f"{prefix}-{identity}"
        client.sys.create_or_update_policy(name, policy_document(prefix, identity, database_mount))
        client.auth.approle.create_or_update_approle(
            name, token_policies=[name], token_ttl=f"{TOKEN_LIFETIME_S}s", token_max_ttl=f"{TOKEN_LIFETIME_MAX_S}s",
            token_no_default_policy=False, secret_id_num_uses=0, bind_secret_id=True,
        )  # fmt: skip
        role_id = client.auth.approle.read_role_id(name)["data"]["role_id"]
        secret_file = folder / f"{name}.secret-id"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        role = AppRole(role_id, secret_file)
        if not secret_file.exists() or not self._works(client, role):
            if identity == APP:
                wrapped = client.auth.approle.generate_secret_id(name, wrap_ttl=f"{WRAPPING_LIFETIME_S}s")
                text = WRAPPING_PREFIX + wrapped["wrap_info"]["token"]
            else:  # not every operator's command comes within the wrapping's lifetime
                text = client.auth.approle.generate_secret_id(name)["data"]["secret_id"]
            write_private(secret_file, text.encode())
        return role

    def _works(self, client: hvac.Client, role: AppRole) -> bool:
        """Whether a kept secret id is still known; the vault may have been made anew."""
        secret_id = private_text(role.secret_id_file)
        if secret_id.startswith(WRAPPING_PREFIX):
            return False
        try:
            answer = client.auth.approle.login(role.role_id, secret_id=secret_id, use_token=False)
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            return False
        client.auth.token.revoke(answer["auth"]["client_token"])
        return True

    def signed_in(self) -> Any:
        """A client, as a context."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.ca_file)
        client = hvac.Client(url=self.address, token=self.token, session=session, allow_redirects=False)
        return _Closing(client, session)


class _Closing:
    def __init__(self, client: hvac.Client, session: requests.Session) -> None:
        self._client, self._session = client, session

    def __enter__(self) -> hvac.Client:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._session.close()


def _listed(client: hvac.Client, path: str) -> list[str]:
    try:
        answer: Any = client.adapter.list(path)
    except hvac.exceptions.InvalidPath:
        return []
    return list(answer["data"]["keys"])


def scratch_prefix() -> str:
    """A prefix for as long as this process lives; its number lets a later one sweep what a killed one left."""
    return f"scratch-{os.getpid()}-{secrets.token_hex(4)}"


def _unless_there(make: Callable[[], Any]) -> None:
    """Of two processes that make the same engine at once, the slower is told so, and content."""
    try:
        make()
    except hvac.exceptions.InvalidRequest as error:
        if "already in use" not in " ".join(str(one) for one in error.errors or ()):
            raise
