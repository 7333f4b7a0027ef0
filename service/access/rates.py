"""How often one caller may ask: a token bucket each, as many as are remembered.

What may change here: how buckets are forgotten. Not: that what is remembered is bounded.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

_REMEMBERED = 10_000  # callers; the one that was away longest is forgotten, and has a full bucket when it comes back


class RateLimiter:
    """Lets each caller ask `burst` times at once, and `rate` times a second in the long run."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`rate`: requests a second, above 0; `burst`: at least 1."""
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller -> tokens, at which time

    def take(self, caller: str) -> int:
        """Take one request: 0, or the whole seconds until the next one would be let in."""
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - since) * self._rate)
        wait = 0 if tokens >= 1 else max(1, math.ceil((1 - tokens) / self._rate))
        self._buckets[caller] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return wait


def name_address(address: str) -> str:
    """What a client's address counts as: of IPv6 its /64, since one client has all of that."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
