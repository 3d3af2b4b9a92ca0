"""Ending letters by the signed link in each: a page with a button, and the one click of mail programs (RFC 8058).

Needs no session, hence no token of a form: the link itself says who asks. A GET changes nothing, since programs that
look for harmful links open them all.
"""

from typing import Any, Final
from uuid import UUID

from litestar import Response, Router, get, post

from care_collective.notifications import unsubscribe
from care_collective.web import security
from care_collective.web.pages.rendering import AnyRequest, current_member, page

_FIELD: Final = "m"


@get("/unsubscribe")
async def ask(request: AnyRequest) -> Response[str]:
    """The button, where the link is ours."""
    return await _page(request, "ask" if _named(request) is not None else "unknown")


@post("/unsubscribe", status_code=200)
async def end(request: AnyRequest) -> Response[Any]:
    """Ends letters to the member whom the link names; what is posted says nothing more. Once more is the same."""
    named = _named(request)
    if named is None:
        return await _page(request, "unknown")
    community_id, user_id = named
    known = await security.services(request).database.value(
        "care.unsubscribe", p_community_id=community_id, p_user_id=user_id
    )
    return await _page(request, "done" if known else "unknown")


async def _page(request: AnyRequest, state: str) -> Response[str]:
    token = request.query_params.get(_FIELD, "")
    return await page(
        request,
        "unsubscribe/ask.html",
        member=await current_member(request),
        status=400 if state == "unknown" else 200,
        state=state,
        token=token,
    )


def _named(request: AnyRequest) -> tuple[UUID, UUID] | None:
    return unsubscribe.opened(security.services(request).secret_key, request.query_params.get(_FIELD, ""))


router = Router("/", include_in_schema=False, route_handlers=[ask, end])
