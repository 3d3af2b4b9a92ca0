"""Bounds what one address may ask in a minute, so that guessing and broken loops stay cheap for everybody else.

Coarse on purpose: members' own limits are in the database. Knows addresses and counts, nothing of what is asked.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

WINDOW_SECONDS: Final = 60
# Refusals and faults: who gets so many is guessing or broken.
REFUSALS: Final = 300
# All requests, replays and second taps among them: fifty a second, for a whole minute, from one household.
REQUESTS: Final = 3000
REMEMBERED: Final = 10_000


@lru_cache(maxsize=REMEMBERED)
def household(address: str) -> str | None:
    """What is counted together: an IPv4 address, or the /64 of an IPv6 one. None for this machine's own programs."""
    if not address:
        return None  # a Unix socket: whoever may open it is on this machine
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if parsed.is_loopback:
        return None
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped is not None else str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)


class Doorkeeper:
    """Counts by household in windows of a minute that begin with the first request."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int, int]] = {}

    def wait(self, address: str, now: float) -> int:
        """How many seconds this address has to wait, 0 when it may come in; `now` in seconds."""
        began, requests, refusals = self._seen.get(household(address) or "", (now, 0, 0))
        over = requests >= REQUESTS or refusals >= REFUSALS
        return int(began + WINDOW_SECONDS - now) + 1 if over and began + WINDOW_SECONDS > now else 0

    def note(self, address: str, status: int, now: float) -> None:
        """Counts a request that was answered with this status."""
        counted = household(address)
        if counted is None:
            return
        began, requests, refusals = self._seen.pop(counted, (now, 0, 0))
        if began + WINDOW_SECONDS <= now:
            began, requests, refusals = now, 0, 0
        if len(self._seen) >= REMEMBERED:
            del self._seen[next(iter(self._seen))]  # whoever has been silent for longest
        # 409 leads to what is there already, a double tap; 503 is no fault of the caller's.
        refused = status >= 400 and status not in {409, 503}
        self._seen[counted] = (began, requests + 1, refusals + refused)
