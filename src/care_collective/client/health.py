"""Features for the caller, and how the server is."""

from typing import Final

from care_collective.client.calls import Calls
from care_collective.client.models import Features, Health, State

# A server that cannot serve members says how it is, under this status.
_ALSO: Final = frozenset({503})


class ServerHealth:
    """`client.health`. How the server is needs no caller and is asked once: a bad state is an answer, not an error."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def features(self) -> Features:
        """Which features are on for the caller; for nobody only what is on for all."""
        return await self._calls.read("/api/features", Features)

    async def report(self) -> Health:
        """Version, database, migrations, outbox and flag."""
        return await self._calls.look("/api/health", Health, also=_ALSO)

    async def live(self) -> State:
        """Whether the process answers."""
        return await self._calls.look("/api/health/live", State)

    async def ready(self) -> State:
        """Whether it can serve members now."""
        return await self._calls.look("/api/health/ready", State, also=_ALSO)
