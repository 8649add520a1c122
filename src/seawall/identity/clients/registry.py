"""API clients as `[identity.clients.NAME]` declares them, and how they show which one they are."""

from __future__ import annotations

import hmac
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import unquote_plus, urlsplit

import structlog

from seawall.core.errors import Refused
from seawall.identity.clients.refusals import BadAuthorization, OAuthError
from seawall.identity.secret_sources import Leases, SecretSource, no_vault, source_of
from seawall.settings import ClientSection

SECRET_LENGTH_MIN = 32
URI_LENGTH_MAX = 512
LOOPBACK = frozenset({"127.0.0.1", "::1"})

_log = structlog.get_logger("seawall.identity")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_PLAIN = re.compile(r"[!#-;=?-\[\]_a-z~]+")
"""Printable ASCII without quotes, angle brackets, blanks and backslash, so that an address can stand in a page."""


@dataclass(frozen=True, slots=True)
class Client:
    """One client. Confidential if it has a secret, which is asked for when it is needed."""

    id: str
    title: str
    redirect_uris: tuple[str, ...]
    bearer: bool
    resource_server: bool
    secret: SecretSource | None = field(default=None, repr=False)

    @property
    def confidential(self) -> bool:
        return self.secret is not None

    def may_return_to(self, uri: str) -> bool:
        """Whether `uri` is registered: character for character (RFC 9700 §2.1), but for the port of a loopback one."""
        return any(uri == known or _same_loopback(uri, known) for known in self.redirect_uris)


class Registry:
    """All clients of the app.

    Args:
        sections: as declared, by client id.
        leases: how their secrets are leased from the vault.

    Raises:
        Refused: one of them is declared in a way that would not be safe.
    """

    def __init__(self, sections: Mapping[str, ClientSection], leases: Leases = no_vault) -> None:
        self._clients = {name: _client(name, section, leases) for name, section in sections.items()}

    def to_authorize(self, query: Mapping[str, str]) -> tuple[Client, str]:
        """The client and redirect address of an authorization request.

        Raises:
            BadAuthorization: they are not registered together; shown to the person, never redirected.
        """
        client = self._clients.get(query.get("client_id", ""))
        if client is None:
            raise BadAuthorization("No app of this client_id is registered here.")
        uri = query.get("redirect_uri", "")
        if not client.may_return_to(uri):
            raise BadAuthorization("This redirect_uri is not registered for the app.")
        return client, uri

    def title_of(self, client_id: str) -> str:
        """What people call a client; its id when it is registered no longer."""
        client = self._clients.get(client_id)
        return client.title if client else client_id

    async def authenticated(self, form: Mapping[str, str], authorization: str | None) -> Client:
        """The client behind a request to one of the endpoints (RFC 6749 §2.3).

        Raises:
            OAuthError: `invalid_client`; or `invalid_request`, when it authenticates in two ways at once.
            VaultUnavailable: whether it is the client cannot be said now.
        """
        client_id, secret = form.get("client_id", ""), form.get("client_secret")
        if authorization is not None:
            if secret is not None:
                raise OAuthError("invalid_request", "The client authenticates in two ways at once.")
            basic_id, secret = _basic(authorization)
            if client_id not in ("", basic_id):
                raise OAuthError("invalid_request", "Two clients are named.")
            client_id = basic_id
        client = self._clients.get(client_id)
        if client is None or not await _shows(client, secret):
            raise OAuthError(
                "invalid_client",
                "The client is not known, or has not authenticated as it must.",
                status=401,
                headers={"WWW-Authenticate": 'Basic realm="token"'} if authorization is not None else None,
            )
        return client


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, credentials = authorization.partition(" ")
    try:
        name, colon, secret = b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise OAuthError(
            "invalid_client",
            "The Authorization header is not one of a client.",
            status=401,
            headers={"WWW-Authenticate": 'Basic realm="token"'},
        )
    return unquote_plus(name), unquote_plus(secret)


def _same_loopback(uri: str, known: str) -> bool:
    """RFC 8252 §7.3: a native app listens on whatever port is free. Never for the name `localhost` (§8.3)."""
    if len(uri) > URI_LENGTH_MAX or not _PLAIN.fullmatch(uri.lower()):
        return False
    registered = urlsplit(known)
    if registered.scheme != "http" or registered.hostname not in LOOPBACK:
        return False
    host = f"[{registered.hostname}]" if registered.hostname == "::1" else registered.hostname
    found = re.fullmatch(rf"http://{re.escape(str(host))}:([1-9][0-9]{{0,4}})(/.*)?", uri)
    rest = known.removeprefix(f"http://{registered.netloc}")
    return found is not None and int(found[1]) < 65_536 and (found[2] or "") == rest


async def _shows(client: Client, given: str | None) -> bool:
    if client.secret is None:
        return given is None  # a public client that sends a secret is not the one that is registered
    known = await client.secret()
    if known is None or len(known) < SECRET_LENGTH_MIN:
        # Never taken for a public client: that would let in whoever knows its name.
        _log.error("a client has no secret that could be checked", alert=True, client=client.id)
        return False
    return given is not None and hmac.compare_digest(_digest(known), _digest(given))


def _digest(secret: str) -> bytes:
    """Of one length whatever the secret's, so that comparing tells nothing of it."""
    return sha256(secret.encode()).digest()


def _client(name: str, section: ClientSection, leases: Leases) -> Client:
    where = f"identity.clients.{name}"
    if not _NAME.fullmatch(name):
        raise Refused(
            f"{where} is not a name",
            why="it is the client_id, which stands in addresses, tokens and logs",
            fix="use lower-case letters, digits and inner dashes, at most 64",
        )
    for uri in section.redirect_uris:
        _check_redirect(where, uri)
    if section.secret is not None and len(section.secret.get_secret_value()) < SECRET_LENGTH_MIN:
        raise Refused(
            f"{where}: the secret is shorter than {SECRET_LENGTH_MIN} characters",
            why="whoever guesses it is the client",
            fix='make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`',
        )
    confidential = section.confidential or section.resource_server or section.secret is not None
    secret = source_of(leases, name, section.secret) if confidential else None
    if confidential and secret is None:
        raise Refused(
            f"{where} is confidential, and there is no secret and no vault to have one",
            why="anybody could say that they are this client",
            fix=f"set [secrets] address and run `seawall vault put client-{name}`; without a vault "
            f"SEAWALL_IDENTITY__CLIENTS__{name.upper()}__SECRET",
        )
    return Client(
        id=name,
        title=section.title or name,
        redirect_uris=section.redirect_uris,
        bearer=section.bearer,
        resource_server=section.resource_server,
        secret=secret,
    )


def _check_redirect(where: str, uri: str) -> None:
    try:
        parts = urlsplit(uri)
        loopback = parts.scheme == "http" and parts.hostname in LOOPBACK
    except ValueError:
        parts, loopback = urlsplit(""), False
    # A private-use scheme is a domain name turned round (RFC 8252 §7.1); this also keeps `javascript:` out.
    private = "." in parts.scheme and not parts.netloc and parts.path.startswith("/")
    web = parts.scheme == "https" and bool(parts.hostname)
    well_formed = len(uri) <= URI_LENGTH_MAX and _PLAIN.fullmatch(uri.lower()) and "#" not in uri and "@" not in uri
    if not well_formed or not (loopback or private or web):
        raise Refused(
            f"{where}: redirect_uri {uri!r} is not one that a code may be sent to",
            why="whoever receives the code may act as the person",
            fix="use https://host/path, http://127.0.0.1/path (any port fits), or com.example.app:/path",
        )
