"""Which community a host name means. Functions cannot see a host: this door resolves it (contract.md section 1)."""

import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec

from care_collective.db.call import Database

# A community renamed or moved is seen by every node after this long.
_KEPT_SECONDS: Final = 5.0
# Host names come from whoever calls: what is remembered has a bound.
_REMEMBERED: Final = 1000
_LONGEST_HOST: Final = 253


class Community(msgspec.Struct, frozen=True):
    """What everybody may know of a community."""

    id: UUID
    slug: str
    name: str
    time_zone: str
    locale: str
    emergency_line: str | None = None


class Communities:
    """Resolves host names, remembering each answer for a few seconds. `clock` answers seconds."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[float, Community | None]] = {}

    async def of_host(self, host: str) -> Community | None:
        """The community of a host name (a port is ignored), else the only one, else None."""
        name = host.rsplit("]", 1)[0] + "]" if host.startswith("[") else host.partition(":")[0]
        # One character past the longest is no name of ours either, and all that is remembered of it.
        name = name.lower().rstrip(".")[: _LONGEST_HOST + 1]
        known = self._known.get(name)
        if known is not None and known[0] > self._clock():
            return known[1]
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        found = await self._look_up(name)
        self._known[name] = (self._clock() + _KEPT_SECONDS, found)
        return found

    async def _look_up(self, name: str) -> Community | None:
        if "\0" in name:
            return None
        identity = await self._database.value("care.community_for_host", p_host=name)
        if identity is None:
            return None
        text = await self._database.value("care.get_community", p_community_id=identity)
        return None if text is None else msgspec.json.decode(text, type=Community)
