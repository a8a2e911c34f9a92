"""How often one client may ask. Clients are told apart by the address of their connection, never by what they say about it."""

from __future__ import annotations

import ipaddress
import math
import time
from functools import lru_cache

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

_PORTIONS = 100
_MOST_CLIENTS = 10_000
_IPV6_NETWORK_BITS = 64  # what one customer gets: single addresses of it cost nothing


class RateLimit:
    """One limit, e.g. "60/minute", in this process's memory; "" is none. Raises ValueError for what is no limit.

    Of a large limit, requests are counted in portions of one per cent: to count each would cost as much as to answer it.
    """

    def __init__(self, text: str) -> None:
        self._item: RateLimitItem | None = parse(text) if text else None
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._portion = max(1, self._item.amount // _PORTIONS) if self._item is not None else 1
        self._drawn: dict[str, int] = {}

    def take(self, client: str) -> int | None:
        """Count a request; None where it is allowed, else the seconds after which to ask again."""
        if self._item is None:
            return None
        left = self._drawn.get(client, 0)
        if left > 0:
            self._drawn[client] = left - 1
            return None
        if not self._limiter.hit(self._item, client, cost=self._portion):
            return self._wait_s(self._item, client)
        if len(self._drawn) >= _MOST_CLIENTS:
            self._drawn.clear()
        self._drawn[client] = self._portion - 1
        return None

    def _wait_s(self, item: RateLimitItem, client: str) -> int:
        return max(1, math.ceil(self._limiter.get_window_stats(item, client).reset_time - time.time()))


@lru_cache(maxsize=4096)
def client_key(host: str) -> str:
    """The address; for IPv6 its network. "" for a connection without one (a Unix socket).

    An IPv4 address on a dual-stack socket (::ffff:192.0.2.1) counts as IPv4; otherwise all of IPv4 would be one IPv6 network.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))
