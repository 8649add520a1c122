"""Where a request comes from, as little of it as comparing takes: a keyed hash of its network, a country, an operator.

The address itself is never kept. The hash is keyed, because the four thousand million addresses of IPv4 are hashed in a
minute. Databases are optional and local: no lookup leaves the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from seawall.core.errors import Refused
from seawall.core.master import MasterSecret
from seawall.core.vault import VaultUnavailable
from seawall.identity.keyed import Keyed
from seawall.identity.throttle import network_of
from seawall.settings import RiskSection

CACHE_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that is not known is None."""

    network: bytes | None = None
    """The IP version and the key's, a byte each, then 14 bytes of HMAC over the /24 or /64."""
    country: str | None = None
    asn: int | None = None


class Places:
    """Looks addresses up.

    Raises:
        Refused: a database is named that cannot be read.
    """

    def __init__(self, section: RiskSection, master: MasterSecret) -> None:
        self._keyed = Keyed(master, "network")
        self._countries = _reader(section.country_database, "country_database")
        self._operators = _reader(section.asn_database, "asn_database")
        self._known = lru_cache(maxsize=CACHE_MAX)(self._look_up)

    def of(self, address: str | None) -> Place:
        """Where an address is. Without the key its network is unknown, and nobody is refused for it."""
        try:
            version = self._keyed.version
        except VaultUnavailable:
            version = None
        return self._known(address, version)

    def _look_up(self, address: str | None, version: int | None) -> Place:
        try:
            ip = ip_address(address or "")
        except ValueError:
            return Place()
        network = network_of(address)
        mac = None if version is None else self._keyed.mac(network.encode(), version)
        kind = 4 if "." in network else 6
        hashed = None if mac is None or version is None else bytes([kind, version % 256]) + mac[:14]
        return Place(hashed, _country(_get(self._countries, ip)), _operator(_get(self._operators, ip)))


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
