"""Slowing down guessing: per account and per network, by one SQL function (GCRA), so that all processes count together.

The table is UNLOGGED: a crash forgets the counters, which costs an attacker nothing but a crash of PostgreSQL. Keys are
hashes; no address is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from seawall.core.errors import TooMany
from seawall.core.ids import token_hash

NETWORK_PREFIX_V4 = 24
NETWORK_PREFIX_V6 = 64


def network_of(address: str | None) -> str:
    """The network of a caller: /24 of IPv4, /64 of IPv6 (one subscriber owns a whole /64); mapped IPv4
    counts as IPv4.
    """
    try:
        ip = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    prefix = NETWORK_PREFIX_V4 if ip.version == 4 else NETWORK_PREFIX_V6
    return str(ip_network((ip, prefix), strict=False))


@dataclass(frozen=True, slots=True)
class Limit:
    """`times` attempts at once, refilled evenly over `window_s`."""

    kind: str
    subject: str
    times: int
    window_s: int

    @property
    def key(self) -> bytes:
        return token_hash(f"{self.kind}\0{self.subject}")


class Throttle:
    """Takes attempts in a transaction of its own, so that a refused attempt is counted whatever becomes of the request.

    Args:
        identity: opens a transaction as `seawall_identity`.
    """

    def __init__(self, identity: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._identity = identity

    async def take(self, *limits: Limit) -> None:
        """Take one attempt from each limit.

        Raises:
            TooMany: one of them is used up.
        """
        async with self._identity() as tx:
            # Always in the order given, so that two requests cannot wait for each other.
            waits = [await tx.fetchval("SELECT seawall.throttle($1, $2, $3)", *_row(limit)) for limit in limits]
        if max(waits) > 0:
            raise TooMany("Too many attempts.", retry_after_s=math.ceil(max(waits)))

    async def give_back(self, *limits: Limit) -> None:
        """Return an attempt that turned out well: only failures count."""
        async with self._identity() as tx:
            for limit in limits:
                await tx.execute("SELECT seawall.throttle_give_back($1, $2, $3)", *_row(limit))


def _row(limit: Limit) -> tuple[bytes, int, int]:
    return limit.key, limit.times, limit.window_s
