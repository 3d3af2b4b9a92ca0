"""Notifications over HTTP: what the caller was told, how much of it is unread, and marking it as read."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, QueryParameter

from care_collective.errors import Code
from care_collective.notifications.told import Filter, Kind, Notifications
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class NotificationRequest(msgspec.Struct, frozen=True):
    """The request a notification is about; `accepted`: the reader is its helper."""

    id: UUID
    title: str
    accepted: bool


class Notification(msgspec.Struct, frozen=True):
    """What the caller was told: what was done, by whom, about which request; `count` messages together."""

    id: UUID
    kind: Kind
    count: int
    actor: schemas.Person | None
    help_request: NotificationRequest | None
    conversation_id: UUID | None
    created_at: schemas.Moment
    updated_at: schemas.Moment
    read_at: schemas.Moment | None


class NotificationPage(msgspec.Struct, frozen=True):
    """A page of notifications, newest first; `next_cursor` is null at the end."""

    success: Literal[True]
    notifications: list[Notification]
    next_cursor: str | None


class UnreadNotifications(msgspec.Struct, frozen=True):
    """How many notifications are unread, up to 100."""

    success: Literal[True]
    unread: int


def _notifications(request: MemberRequest) -> Notifications:
    return security.services(request).notifications


@get("/", responses=schemas.answers(NotificationPage, *schemas.ALWAYS))
async def list_notifications(
    request: MemberRequest,
    cursor: schemas.Cursor = None,
    limit: schemas.Limit = 20,
    filter_: Annotated[Filter, QueryParameter(name="filter")] = "all",
) -> Response[bytes]:
    """What the caller was told, newest first. Unread messages of one conversation are one notification."""
    return replies.passed_on(
        await _notifications(request).list(request.user, cursor=cursor, limit=limit, filter_=filter_)
    )


@get("/unread-count", responses=schemas.answers(UnreadNotifications, *schemas.ALWAYS))
async def count_unread_notifications(request: MemberRequest) -> Response[bytes]:
    """How many of the caller's notifications are unread, up to 100."""
    return replies.passed_on(await _notifications(request).count_unread(request.user))


@post(
    "/{notification_id:uuid}/read",
    status_code=200,
    responses=schemas.answers(UnreadNotifications, *schemas.ADDITIONS, Code.NOT_FOUND),
)
async def mark_notification_read(request: MemberRequest, notification_id: FromPath[UUID]) -> Response[bytes]:
    """Mark one notification as read. To mark a conversation as read marks all that was told of it."""
    return replies.passed_on(await _notifications(request).mark_read(request.user, notification_id))


@post("/read-all", status_code=200, responses=schemas.answers(UnreadNotifications, *schemas.ADDITIONS))
async def mark_all_notifications_read(request: MemberRequest) -> Response[bytes]:
    """Mark all notifications as read; conversations stay as they are."""
    return replies.passed_on(await _notifications(request).mark_all_read(request.user))


router = Router(
    "/api/notifications",
    guards=[security.member],
    before_request=check_query,
    tags=["notifications"],
    route_handlers=[
        list_notifications,
        count_unread_notifications,
        mark_notification_read,
        mark_all_notifications_read,
    ],
)
