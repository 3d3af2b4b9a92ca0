"""Telling of a problem with a conversation: a small form, to which an error's page leads."""

from typing import Any

from litestar import Response, Router, get, post

from care_collective.errors import CareError
from care_collective.web import security
from care_collective.web.pages import forms
from care_collective.web.pages.rendering import AnyRequest, page, require_member


@get("/problems")
async def tell_form(request: AnyRequest) -> Response[str]:
    """The form, with the code and reference that the error had; or that it has been sent."""
    query = request.query_params
    form = {"code": query.get("code", ""), "reference": query.get("reference", "")}
    return await _page(request, form=form, errors={}, told="told" in query)


@post("/problems")
async def tell(request: AnyRequest) -> Response[Any]:
    """Sends it and says thanks; else the form again, with what was typed."""
    form = await forms.sent(request, "code", "reference", "words")
    try:
        _, caller = await forms.author(request, form)
        answer = await security.services(request).messaging.report_problem(
            caller,
            conversation_id=None,
            help_request_id=None,
            code=form["code"],
            reference=form["reference"],
            words=form["words"],
        )
        answer.success()
    except CareError as error:
        return await forms.refused(request, error, form, _page, back="/problems")
    return forms.see_other("/problems?told")


async def _page(request: AnyRequest, *, form: dict[str, str], told: bool = False, **context: Any) -> Response[str]:  # noqa: ANN401
    member = await require_member(request)
    form = {"key": forms.new_key(request), **form}
    return await page(request, "problems/tell.html", member=member, form=form, told=told, **context)


router = Router("/", include_in_schema=False, route_handlers=[tell_form, tell])
