"""API clients as `[identity.clients.NAME]` declares them, and how they show which one they are."""

from __future__ import annotations

import hmac
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import unquote_plus, urlsplit

from seawall.core.errors import Refused
from seawall.identity.clients.refusals import BadAuthorization, OAuthError
from seawall.settings import ClientSection

SECRET_LENGTH_MIN = 32
URI_LENGTH_MAX = 512
LOOPBACK = frozenset({"127.0.0.1", "::1"})

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_PLAIN = re.compile(r"[!#-;=?-\[\]_a-z~]+")
"""Printable ASCII without quotes, angle brackets, blanks and backslash, so that an address can stand in a page."""


@dataclass(frozen=True, slots=True)
class Client:
    """One client. Confidential if it has a secret, of which only the SHA-256 is kept."""

    id: str
    title: str
    redirect_uris: tuple[str, ...]
    bearer: bool
    resource_server: bool
    secret_hash: bytes | None = field(default=None, repr=False)

    @property
    def confidential(self) -> bool:
        return self.secret_hash is not None

    def may_return_to(self, uri: str) -> bool:
        """Whether `uri` is registered: character for character (RFC 9700 §2.1), but for the port of a loopback one."""
        return any(uri == known or _same_loopback(uri, known) for known in self.redirect_uris)


class Registry:
    """All clients of the app.

    Raises:
        Refused: one of them is declared in a way that would not be safe.
    """

    def __init__(self, sections: Mapping[str, ClientSection]) -> None:
        self._clients = {name: _client(name, section) for name, section in sections.items()}

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

    def authenticated(self, form: Mapping[str, str], authorization: str | None) -> Client:
        """The client behind a request to one of the endpoints (RFC 6749 §2.3).

        Raises:
            OAuthError: `invalid_client`; or `invalid_request`, when it authenticates in two ways at once.
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
        known = client.secret_hash if client and client.secret_hash else b""
        given = sha256((secret or "").encode()).digest() if secret is not None else b""
        # A public client that sends a secret is not the one that is registered.
        if client is None or not hmac.compare_digest(known, given):
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


def _client(name: str, section: ClientSection) -> Client:
    where = f"identity.clients.{name}"
    if not _NAME.fullmatch(name):
        raise Refused(
            f"{where} is not a name",
            why="it is the client_id, which stands in addresses, tokens and logs",
            fix="use lower-case letters, digits and inner dashes, at most 64",
        )
    for uri in section.redirect_uris:
        _check_redirect(where, uri)
    secret = section.secret.get_secret_value() if section.secret else None
    if secret is not None and len(secret) < SECRET_LENGTH_MIN:
        raise Refused(
            f"{where}: the secret is shorter than {SECRET_LENGTH_MIN} characters",
            why="it is checked by its hash alone, so it must not be guessable",
            fix='make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`',
        )
    if section.resource_server and secret is None:
        raise Refused(
            f"{where}: a resource server without a secret",
            why="anybody could ask about every token",
            fix=f"set SEAWALL_IDENTITY__CLIENTS__{name.upper()}__SECRET, or take resource_server away",
        )
    return Client(
        id=name,
        title=section.title or name,
        redirect_uris=section.redirect_uris,
        bearer=section.bearer,
        resource_server=section.resource_server,
        secret_hash=None if secret is None else sha256(secret.encode()).digest(),
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
