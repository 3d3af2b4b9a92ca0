"""Who wants to join, for coordinators: list, approve, reject."""

from collections.abc import AsyncIterator
from uuid import UUID

from care_collective.client.calls import Calls, part
from care_collective.client.models import Applicant, ApplicationDecided, ApplicationPage

_PATH = "/api/admin/applications"


class Applications:
    """`client.applications`, for a coordinator. Every method raises CareClientError; of a write it has the `key`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(self, *, waiting: bool = True, cursor: str | None = None, limit: int = 20) -> ApplicationPage:
        """A page of those who wait, longest first; with `waiting` false of those not approved. `limit` 1 to 50."""
        return await self._calls.read(_PATH, ApplicationPage, waiting=waiting, cursor=cursor, limit=limit)

    async def each(self, *, waiting: bool = True, limit: int = 50) -> AsyncIterator[Applicant]:
        """Everybody that `list` would page through, `limit` a call."""
        cursor: str | None = None
        while True:
            page = await self.list(waiting=waiting, cursor=cursor, limit=limit)
            for one in page.applications:
                yield one
            cursor = page.next_cursor
            if cursor is None:
                return

    async def approve(self, user_id: UUID, *, reason: str | None = None, key: str | None = None) -> ApplicationDecided:
        """Lets somebody in, also after a rejection. Errors: Conflict where they are in already, NotFound."""
        return await self._decide(user_id, "approve", reason, key)

    async def reject(self, user_id: UUID, *, reason: str | None = None, key: str | None = None) -> ApplicationDecided:
        """Does not let somebody in; they read the `reason`, up to 500 characters. Errors: Conflict, NotFound."""
        return await self._decide(user_id, "reject", reason, key)

    async def _decide(self, user_id: UUID, decision: str, reason: str | None, key: str | None) -> ApplicationDecided:
        path = f"{_PATH}/{part(user_id)}/{decision}"
        return await self._calls.write("POST", path, ApplicationDecided, body={"reason": reason}, key=key)
