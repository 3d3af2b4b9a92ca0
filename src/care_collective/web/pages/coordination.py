"""Pages for coordinators: who wants to join."""

from functools import partial
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath

from care_collective.accounts.applications import Decision
from care_collective.errors import CareError, Code
from care_collective.web import security
from care_collective.web.api.coordination import ApplicationPage
from care_collective.web.pages import forms
from care_collective.web.pages.rendering import AnyRequest, page, require_member

_AT = "/coordinator/approvals"
_NOTICES = frozenset({"approved", "rejected"})


@get(_AT)
async def approvals(request: AnyRequest) -> Response[str]:
    """Who waits, longest first, each with what can be decided; or who was not approved."""
    return await _page(request, form={}, errors={}, about=None)


async def _page(request: AnyRequest, *, about: UUID | None, status: int = 200, **context: Any) -> Response[str]:  # noqa: ANN401
    """The list; `about` is whose form is shown again with what was typed."""
    member = await require_member(request)
    waiting = "rejected" not in request.query_params
    cursor = request.query_params.get("cursor") or None
    answer = await security.services(request).applications.list(request.user, waiting=waiting, cursor=cursor)
    return await page(
        request,
        "coordination/approvals.html",
        member=member,
        status=status,
        found=msgspec.json.decode(answer.success(), type=ApplicationPage),
        waiting=waiting,
        about=about,
        done=forms.notice_of(request, _NOTICES),
        verb_key=forms.new_key(request),
        **context,
    )


@post(_AT + "/{applicant_id:uuid}/{decision:str}")
async def decide(request: AnyRequest, applicant_id: FromPath[UUID], decision: FromPath[str]) -> Response[Any]:
    """Approves or rejects and leads back to the list; else the list again, with what was typed."""
    if decision not in {"approve", "reject"}:
        raise CareError(Code.NOT_FOUND)
    form = await forms.sent(request, "reason")
    try:
        _, caller = await forms.author(request, form)
        answer = await security.services(request).applications.decide(
            caller, applicant_id, cast(Decision, decision), form["reason"]
        )
        status = answer.data()["status"]
    except CareError as error:
        return await forms.refused(request, error, form, partial(_page, about=applicant_id), back=_AT)
    return forms.see_other(f"{_AT}?done={status}")


router = Router("/", include_in_schema=False, route_handlers=[approvals, decide])
