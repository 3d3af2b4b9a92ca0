"""What a member was told, listed, counted and marked as read. It is written by the functions that did what it tells."""

from typing import Literal
from uuid import UUID

from care_collective.db.call import Answer, Caller, Database

Filter = Literal["all", "unread"]
Kind = Literal[
    "offer.received",
    "offer.unanswered",
    "offer.accepted",
    "offer.declined",
    "offer.replaced",
    "helper.stepped_back",
    "helper.released",
    "message.received",
    "conversation.closed",
    "conversation.reopened",
    "request.completed",
    "request.cancelled",
    "request.reopened",
    "request.expired",
    "membership.waiting",
    "membership.approved",
    "membership.rejected",
]


class Notifications:
    """The caller's own notifications. Rights and rules are in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, caller: Caller, *, cursor: str | None, limit: int, filter_: Filter) -> Answer:
        """A page, newest first; `limit` 1 to 50."""
        return await self._database.call(
            "public.list_notifications", caller, p_cursor=cursor, p_limit=limit, p_filter=filter_
        )

    async def count_unread(self, caller: Caller) -> Answer:
        """How many are unread, up to 100."""
        return await self._database.call("public.count_unread_notifications", caller)

    async def mark_read(self, caller: Caller, notification_id: UUID) -> Answer:
        """Marks one as read; its thread stays as it is."""
        return await self._database.call("public.mark_notification_read", caller, p_notification_id=notification_id)

    async def mark_all_read(self, caller: Caller) -> Answer:
        """Marks all as read; their threads stay as they are."""
        return await self._database.call("public.mark_all_notifications_read", caller)
