"""Where a request comes from, as little of it as comparing takes: a keyed hash of its network, a country, an operator.

The address itself is never kept. The hash is keyed, because the four thousand million addresses of IPv4 are hashed in a
minute. Databases are optional and local: no lookup leaves the machine.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from seawall.core.errors import Refused
from seawall.identity.throttle import network_of
from seawall.settings import RiskSection

CACHE_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that is not known is None."""

    network: bytes | None = None
    """The IP version in one byte, then 15 bytes of HMAC over the /24 or /64."""
    country: str | None = None
    asn: int | None = None


class Places:
    """Looks addresses up.

    Raises:
        Refused: a database is named that cannot be read.
    """

    def __init__(self, section: RiskSection, secret: str) -> None:
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"seawall:network").derive(secret.encode())
        self._countries = _reader(section.country_database, "country_database")
        self._operators = _reader(section.asn_database, "asn_database")
        self.of = lru_cache(maxsize=CACHE_MAX)(self._of)

    def _of(self, address: str | None) -> Place:
        try:
            ip = ip_address(address or "")
        except ValueError:
            return Place()
        network = network_of(address)
        version = b"\x04" if "." in network else b"\x06"
        mac = hmac.digest(self._key, network.encode(), "sha256")[:15]
        return Place(version + mac, _country(_get(self._countries, ip)), _operator(_get(self._operators, ip)))


def _reader(path: Path | None, name: str) -> Any:
    if path is None:
        return None
    try:
        import maxminddb
    except ImportError:
        raise Refused(
            f"identity.risk.{name} is set, but maxminddb is not installed",
            why="it reads the database; without it the signal would be missing in silence",
            fix='install "seawall[geoip]"',
        ) from None
    try:
        return maxminddb.open_database(path)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise Refused(
            f"identity.risk.{name}: {path} cannot be read: {type(error).__name__}",
            why="a signal that you have asked for must not be missing in silence",
            fix="put a MaxMind DB file (.mmdb) there, or take the setting out",
        ) from None


def _get(reader: Any, ip: Any) -> Mapping[str, Any]:
    if reader is None:
        return {}
    try:
        found = reader.get(ip)
    except ValueError:  # an IPv6 address in a database of IPv4 only
        return {}
    return found if isinstance(found, Mapping) else {}


def _country(record: Mapping[str, Any]) -> str | None:
    """Of MaxMind's layout (`country.iso_code`) or the flat one (`country_code`)."""
    nested = record.get("country")
    code = nested.get("iso_code") if isinstance(nested, Mapping) else record.get("country_code")
    return code if isinstance(code, str) and len(code) == 2 and code.isascii() and code.isupper() else None


def _operator(record: Mapping[str, Any]) -> int | None:
    number = record.get("autonomous_system_number")
    return number if isinstance(number, int) and 0 < number < 2**32 else None
