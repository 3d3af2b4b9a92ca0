"""Notifications as a page: what one was told, in words, and marking it as read. Their links lead through the thread."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from care_collective.errors import CareError, Code
from care_collective.notifications.told import Filter
from care_collective.web import security
from care_collective.web.api.notifications import NotificationPage
from care_collective.web.pages import forms
from care_collective.web.pages.rendering import AnyRequest, page, require_member

_AT = "/notifications"


@get(_AT)
async def told(request: AnyRequest) -> Response[str]:
    """What one was told, newest first; all of it or what is unread. To look at the list reads nothing."""
    return await _page(request, errors={})


async def _page(request: AnyRequest, *, status: int = 200, **context: Any) -> Response[str]:  # noqa: ANN401
    member = await require_member(request)
    filter_: Filter = "unread" if request.query_params.get("filter") == "unread" else "all"
    answer = await security.services(request).notifications.list(
        request.user, cursor=request.query_params.get("cursor") or None, limit=20, filter_=filter_
    )
    return await page(
        request,
        "notifications/list.html",
        member=member,
        status=status,
        found=msgspec.json.decode(answer.success(), type=NotificationPage),
        filter=filter_,
        done=forms.notice_of(request, frozenset({"all-read"})),
        verb_key=forms.new_key(request),
        **context,
    )


@post(_AT + "/{notification_id:uuid}/read")
async def mark(request: AnyRequest, notification_id: FromPath[UUID]) -> Response[Any]:
    """Marks one as read and leads back to the list as it was."""
    form = await forms.sent(request, "filter")
    try:
        _, caller = await forms.author(request, form)
        (await security.services(request).notifications.mark_read(caller, notification_id)).success()
    except CareError as error:
        return await _refused(request, error)
    return forms.see_other(f"{_AT}?filter=unread" if form["filter"] == "unread" else _AT)


@post(_AT + "/read-all")
async def mark_all(request: AnyRequest) -> Response[Any]:
    """Marks all as read."""
    form = await forms.sent(request)
    try:
        _, caller = await forms.author(request, form)
        (await security.services(request).notifications.mark_all_read(caller)).success()
    except CareError as error:
        return await _refused(request, error)
    return forms.see_other(f"{_AT}?done=all-read")


async def _refused(request: AnyRequest, error: CareError) -> Response[Any]:
    """The list again, with the refusal; nothing was typed that could be lost."""
    if error.code is Code.NOT_FOUND:
        raise error
    return await forms.refused(request, error, {}, _page, back=_AT)


@get([_AT + "/{notification_id:uuid}/read", _AT + "/read-all"])
async def back_to() -> Redirect:
    """A form's own address, opened or reloaded after a refusal, leads to the list."""
    return forms.see_other(_AT)


router = Router("/", include_in_schema=False, route_handlers=[told, mark, mark_all, back_to])
