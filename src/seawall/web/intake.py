"""Intake: what is refused before any of the app's code sees a request.

Everything here is about the shape of the message, so that what comes after can trust it: bounded headers and body, one
Host and one length, paths and values that decode to text, no NUL anywhere (PostgreSQL cannot store one, log files and C
libraries end at one), a content type the app parses, our own host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes, urlsplit

import orjson

from seawall.core.errors import BadRequest, Problem, Refused, TooLarge, WrongContentType
from seawall.settings import Settings

Receive = Callable[[], Awaitable[Any]]
Headers = dict[bytes, bytes]

BODY_READ_TIMEOUT_S = 30
"""How long a client may take to send its body; a slower one holds a connection, not a worker."""
BODY_CHUNKS_MAX = 100_000
URL_MAX_BYTES = 8_192

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

_SINGLE = frozenset(
    {
        b"authorization", b"content-length", b"content-type", b"host", b"origin", b"sec-fetch-site",
        b"transfer-encoding",
    }
)  # fmt: skip
"""Headers of which two would mean two different requests to two readers (RFC 9112 §11.2, request smuggling)."""

_READ = _SINGLE | {b"accept", b"cookie", b"hx-request", b"sec-fetch-mode", b"content-encoding"}

_HEADER_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SURROGATE = re.compile(rb"\\u[dD][89abcdefABCDEF]")
_TEXT_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}))(?::[0-9]{1,5})?\Z")
_RESERVED_SUFFIXES = (".localhost", ".test", ".internal", ".local", ".lan", ".home.arpa")
"""Names that the public DNS never answers, so no attacker can point one at us (RFC 6761, 6762, 8375)."""


class HeadersTooLarge(Problem):
    status: ClassVar[int] = 431
    code: ClassVar[str] = "headers-too-large"
    title: ClassVar[str] = "The request's headers are too large"


class WrongHost(Problem):
    status: ClassVar[int] = 421
    code: ClassVar[str] = "wrong-host"
    title: ClassVar[str] = "This host is not served here"


class WrongMethod(Problem):
    status: ClassVar[int] = 405
    code: ClassVar[str] = "method-not-allowed"
    title: ClassVar[str] = "This method is not allowed here"


class TooSlow(Problem):
    status: ClassVar[int] = 408
    code: ClassVar[str] = "too-slow"
    title: ClassVar[str] = "The request took too long to arrive"


class Gone(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


class Intake:
    """The checks of one app, with its limits.

    Raises:
        Refused: when `web.public_origin` is not an origin.
    """

    def __init__(self, settings: Settings) -> None:
        self._header_max = settings.web.header_max_bytes
        self._body_max = settings.web.body_max_bytes
        self._origin = _origin(settings)
        self._host = self._origin.partition(b"://")[2]
        self._known_hosts: set[bytes] = set()

    def read_headers(self, pairs: Iterable[tuple[bytes, bytes]], found: Headers) -> None:
        """Fill `found` with the headers the wall reads, and check all of them.

        Raises:
            HeadersTooLarge, BadRequest.
        """
        size = 0
        doubled = False
        for name, value in pairs:
            size += len(name) + len(value)
            if name in _READ:
                doubled = doubled or (name in found and name in _SINGLE)
                found[name] = value
        if size > self._header_max:
            raise HeadersTooLarge(f"At most {self._header_max} bytes of headers are accepted.")
        if doubled:
            raise BadRequest("A header that must stand once stands twice.", code="ambiguous-headers")
        everything = b" ".join([part for pair in pairs for part in pair])
        if _HEADER_CONTROL.search(everything):
            raise BadRequest("A header holds a control character.", code="control-character")
        if not everything.isascii():
            _text(everything)

    def check_target(self, method: str, raw_path: bytes, query: bytes) -> None:
        """The method, path and query string.

        Raises:
            WrongMethod, BadRequest, TooLarge.
        """
        if method not in METHODS:
            raise WrongMethod()
        if len(raw_path) + len(query) > URL_MAX_BYTES:
            raise TooLarge(f"At most {URL_MAX_BYTES} bytes of address are accepted.", code="address-too-large")
        if b"%" in raw_path:
            lowered = raw_path.lower()
            if b"%2f" in lowered or b"%5c" in lowered:
                # A proxy and the app would disagree about which route this is.
                raise BadRequest("The path holds an encoded separator.", code="bad-path")
            raw_path = unquote_to_bytes(raw_path)
        _text(raw_path)
        if b"/." in raw_path and any(part in (b".", b"..") for part in raw_path.split(b"/")):
            raise BadRequest("The path holds a dot segment.", code="bad-path")
        if b"\\" in raw_path:
            raise BadRequest("The path holds a backslash.", code="bad-path")
        if query:
            decoded = unquote_to_bytes(query) if b"%" in query else query
            # Line ends are legal in a value typed into a text area and sent by GET; NUL is legal nowhere.
            if b"\x00" in decoded or _TEXT_CONTROL.search(query):
                raise BadRequest("The query holds a control character.", code="control-character")
            if not decoded.isascii():
                _text(decoded.replace(b"\r", b"").replace(b"\n", b""), controls=False)

    def own_origin(self, scheme: str, headers: Headers) -> bytes:
        """The origin that browsers know us by, checked against the request's Host.

        Raises:
            BadRequest: when there is no Host or it is not one. WrongHost: when it is not ours.
        """
        host = headers.get(b"host")
        if host is None:
            raise BadRequest("There is no Host header.", code="bad-host")
        if self._origin:
            if host.lower() != self._host:
                raise WrongHost()
            return self._origin
        if host not in self._known_hosts:
            _check_development_host(host)
            if len(self._known_hosts) < 100:
                self._known_hosts.add(host)
        return f"{scheme}://{host.decode('ascii').lower()}".encode()

    async def read_body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body, within its limit and of a type the app parses; None when the request has none.

        It is read here and not by the app, so that a wrong one is refused before a session is looked up.
        `Content-Length` is believed only when it is too large.

        Raises:
            TooLarge, WrongContentType, BadRequest, TooSlow. Gone: when the client left.
        """
        length = headers.get(b"content-length")
        chunked = b"transfer-encoding" in headers
        if length is None and not chunked:
            return None
        declared = self._declared_length(length, chunked=chunked)
        if declared == 0:
            return None
        family = _body_family(headers)
        try:
            async with asyncio.timeout(BODY_READ_TIMEOUT_S):
                body = await self._collect(receive)
        except TimeoutError:
            raise TooSlow() from None
        if declared is not None and len(body) != declared:
            raise BadRequest("The body is not as long as Content-Length says.", code="wrong-length")
        _check_text(body, family)
        return body

    def _declared_length(self, length: bytes | None, *, chunked: bool) -> int | None:
        if length is None:
            return None
        if chunked:
            raise BadRequest("Content-Length and Transfer-Encoding exclude each other.", code="ambiguous-headers")
        if not length.isdigit() or len(length) > 12:
            raise BadRequest("Content-Length is not a number.", code="wrong-length")
        declared = int(length)
        if declared > self._body_max:
            raise TooLarge(f"At most {self._body_max} bytes are accepted.")
        return declared

    async def _collect(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        for _ in range(BODY_CHUNKS_MAX):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone()
            part = message.get("body", b"")
            size += len(part)
            if size > self._body_max:
                raise TooLarge(f"At most {self._body_max} bytes are accepted.")
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
        raise TooLarge("The body arrived in too many pieces.")


def _origin(settings: Settings) -> bytes:
    origin = settings.web.public_origin
    if not origin:
        return b""
    parts = urlsplit(origin)
    bare = f"{parts.scheme}://{parts.netloc}"
    schemes = ("https",) if settings.production else ("https", "http")
    if (
        parts.scheme not in schemes
        or not _HOST.match(parts.netloc.encode())
        or origin != bare
        or origin != origin.lower()
    ):
        raise Refused(
            f"web.public_origin = {origin!r} is not an origin",
            why="cookies, CSRF proofs and sign-in addresses are compared with it byte for byte",
            fix='public_origin = "https://shop.example"',
        )
    return origin.encode()


def _check_development_host(host: bytes) -> None:
    """In development, when no origin is set: accept only names that an attacker cannot register (DNS rebinding)."""
    if not _HOST.match(host):
        raise BadRequest("The Host header is not a host.", code="bad-host")
    name = host.decode("ascii").lower()
    name = name[1 : name.index("]")] if name.startswith("[") else name.partition(":")[0]
    if "." not in name and ":" not in name:
        return
    if name.endswith(_RESERVED_SUFFIXES):
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise WrongHost("Set web.public_origin to serve this host.") from None


def _text(value: bytes, *, controls: bool = True) -> None:
    if controls and _TEXT_CONTROL.search(value):
        raise BadRequest("The address holds a control character.", code="control-character")
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("The request holds bytes that are not UTF-8.", code="bad-encoding") from None


def _body_family(headers: Headers) -> str:
    """`json` or `form`. Multipart is refused until uploads have their own wall; `text/plain` is a CSRF trick."""
    if b"content-encoding" in headers:
        raise WrongContentType("Encoded bodies are not accepted.")
    kind, _, parameters = headers.get(b"content-type", b"").partition(b";")
    kind = kind.strip().lower()
    parameters = parameters.strip().lower().replace(b'"', b"").replace(b" ", b"")
    if parameters not in (b"", b"charset=utf-8"):
        raise WrongContentType("Bodies are UTF-8.")
    if kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return "json"
    if kind == b"application/x-www-form-urlencoded":
        return "form"
    raise WrongContentType("Send application/json or application/x-www-form-urlencoded.")


def _check_text(body: bytes, family: str) -> None:
    """Refuse what is not storable text: NUL, bytes that are not UTF-8, half of a surrogate pair."""
    # Conservative: an escaped backslash before u0000 is refused too; nobody writes that.
    if b"\x00" in body or (b"\\u0000" in body if family == "json" else b"%00" in body):
        raise BadRequest("The body holds a NUL character.", code="control-character")
    if family == "form" and b"%" in body:
        body = unquote_to_bytes(body)
    if not body.isascii():
        _text(body, controls=False)
    if family == "json" and _SURROGATE.search(body):
        _check_surrogates(body)


def _check_surrogates(body: bytes) -> None:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        # Malformed in this or another way; orjson takes no half pairs, as UTF-8 has none (RFC 8259 §8.2).
        raise BadRequest("The body is not JSON, or holds half of a surrogate pair.", code="bad-encoding") from None
