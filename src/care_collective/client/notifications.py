"""What one was told: list, count, mark as read."""

from collections.abc import AsyncIterator
from uuid import UUID

from care_collective.client.calls import Calls, part
from care_collective.client.models import Notification, NotificationPage, UnreadNotifications

_PATH = "/api/notifications"


class Notifications:
    """`client.notifications`. Every method raises CareClientError; of a write it has the `key`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(self, *, cursor: str | None = None, limit: int = 20, unread_only: bool = False) -> NotificationPage:
        """A page of what the caller was told, newest first; `limit` 1 to 50."""
        chosen = "unread" if unread_only else "all"
        return await self._calls.read(_PATH, NotificationPage, cursor=cursor, limit=limit, filter=chosen)

    async def each(self, *, limit: int = 50, unread_only: bool = False) -> AsyncIterator[Notification]:
        """Every notification that `list` would page through, `limit` a call, without those that come meanwhile."""
        cursor: str | None = None
        while True:
            page = await self.list(cursor=cursor, limit=limit, unread_only=unread_only)
            for found in page.notifications:
                yield found
            if (cursor := page.next_cursor) is None:
                return

    async def count_unread(self) -> int:
        """How many are unread, up to 100."""
        return (await self._calls.read(f"{_PATH}/unread-count", UnreadNotifications)).unread

    async def mark_read(self, notification_id: UUID, *, key: str | None = None) -> UnreadNotifications:
        """Marks one as read. `messaging.mark_read` marks all that was told of a conversation. Errors: NotFound."""
        path = f"{_PATH}/{part(notification_id)}/read"
        return await self._calls.write("POST", path, UnreadNotifications, key=key)

    async def mark_all_read(self, *, key: str | None = None) -> UnreadNotifications:
        """Marks all as read; conversations stay as they are."""
        return await self._calls.write("POST", f"{_PATH}/read-all", UnreadNotifications, key=key)
