"""Whom one has blocked, as a page: a part of the settings."""

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from care_collective.errors import CareError
from care_collective.web import security
from care_collective.web.api.blocks import Blocks
from care_collective.web.pages import forms
from care_collective.web.pages.rendering import AnyRequest, page, require_member

_AT: Final = "/settings/blocks"


@get(_AT)
async def blocks(request: AnyRequest) -> Response[str]:
    """Whom one has blocked, the latest first."""
    return await _page(request, errors={})


async def _page(request: AnyRequest, *, status: int = 200, **context: Any) -> Response[str]:  # noqa: ANN401
    member = await require_member(request)
    answer = await security.services(request).messaging.list_blocks(request.user)
    return await page(
        request,
        "settings/blocks.html",
        member=member,
        status=status,
        blocks=msgspec.json.decode(answer.success(), type=Blocks).blocks,
        done=forms.notice_of(request, frozenset({"unblocked"})),
        verb_key=forms.new_key(request),
        **context,
    )


@post(_AT + "/{user_id:uuid}/unblock")
async def unblock(request: AnyRequest, user_id: FromPath[UUID]) -> Response[Any]:
    """Ends a block and leads back to the list; else the list again, with the refusal."""
    form = await forms.sent(request)
    try:
        _, caller = await forms.author(request, form)
        (await security.services(request).messaging.unblock_user(caller, user_id)).success()
    except CareError as error:
        return await forms.refused(request, error, form, _page, back=_AT)
    return forms.see_other(f"{_AT}?done=unblocked")


@get(_AT + "/{user_id:uuid}/unblock")
async def back_to(user_id: FromPath[UUID]) -> Redirect:
    """A form's own address, opened or reloaded after a refusal, leads to the list."""
    return forms.see_other(_AT)


router = Router("/", include_in_schema=False, route_handlers=[blocks, unblock, back_to])
