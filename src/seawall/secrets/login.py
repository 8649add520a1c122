"""How the app proves to the vault who it is: by identity, never by a long-lived token in its settings.

AppRole       a role's id, and a secret id in a file of mode 0600 — plain, or wrapped for one use (RFC-less, but the
              vault's own: a wrapping token that was already opened tells that somebody read it first)
Kubernetes    the pod's own service account token, rotated by the kubelet
TokenFile     a token that the vault's agent keeps fresh beside us
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import hvac
import hvac.exceptions

from seawall.core.errors import Refused
from seawall.store.private import private_text, write_private

WRAPPING_PREFIX = "wrapped:"
"""Before a wrapping token in a secret id's file; what it opens to is written back in its place."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What signing in gave: a token for a time."""

    token: str = field(repr=False)
    lifetime_s: float
    renewable: bool = True


class Login(Protocol):
    """Signs in. Blocking; called in a thread of the connection."""

    @property
    def revocable(self) -> bool:
        """Whether the token is ours to revoke when the app ends."""
        ...

    def __call__(self, client: hvac.Client) -> Grant:
        """Raises hvac's errors when the vault does not answer or does not know us, `Refused` for a file that is open
        to others."""
        ...


@dataclass(frozen=True, slots=True)
class AppRole:
    """A role id and a secret id. The id is no secret; the secret id is read anew at each sign-in, so it may rotate."""

    role_id: str
    secret_id_file: Path
    mount: str = "approle"
    revocable: bool = True

    def __call__(self, client: hvac.Client) -> Grant:
        secret_id = private_text(self.secret_id_file).strip()
        if secret_id.startswith(WRAPPING_PREFIX):
            secret_id = self._unwrapped(client, secret_id.removeprefix(WRAPPING_PREFIX))
        answer = client.auth.approle.login(
            self.role_id, secret_id=secret_id, use_token=False, mount_point=self.mount
        )  # fmt: skip
        return _granted(answer)

    def _unwrapped(self, client: hvac.Client, token: str) -> str:
        """Open the wrapping once and keep what was in it, since the app will sign in again."""
        try:
            # the wrapping token is its own authorisation
            answer: Any = client.adapter.post("/v1/sys/wrapping/unwrap", headers={"X-Vault-Token": token})
            secret_id = str(answer["data"]["secret_id"])
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            raise Refused(
                f"the wrapped secret id in {self.secret_id_file} has run out or was opened by somebody else",
                why="it opens once: if it was not this app, somebody else holds its identity now",
                fix="destroy that secret id in the vault, look who read the file, and issue a new one",
            ) from None
        write_private(self.secret_id_file, secret_id.encode())
        return secret_id


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """The pod's service account token."""

    role: str
    token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    mount: str = "kubernetes"
    revocable: bool = True

    def __call__(self, client: hvac.Client) -> Grant:
        jwt = self._jwt()
        return _granted(client.auth.kubernetes.login(self.role, jwt, use_token=False, mount_point=self.mount))

    def _jwt(self) -> str:
        try:  # not `private_text`: the kubelet mounts it readable by the pod's users
            return self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(
                f"{self.token_file} cannot be read: {type(error).__name__}",
                why="the pod proves with it to the vault who it is",
                fix="mount a service account token, or set [secrets] credential_file",
            ) from None


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token in a file that the vault's agent, or the operator at the terminal, keeps fresh."""

    path: Path
    reread_after_s: float = 30.0
    revocable: bool = False

    def __call__(self, client: hvac.Client) -> Grant:
        return Grant(private_text(self.path).strip(), self.reread_after_s, renewable=False)


def _granted(answer: Any) -> Grant:
    auth = answer["auth"]
    # a lifetime of 0 never ends; asking again once an hour does no harm
    return Grant(auth["client_token"], float(auth["lease_duration"] or 3600), renewable=bool(auth["renewable"]))
