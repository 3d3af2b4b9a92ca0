"""One's own data as a file, and the end of one's account. Open to the banned and to those who wait, too."""

from typing import Any

from litestar import Response, Router, get, post
from litestar.response import Stream

from care_collective.accounts import leaving
from care_collective.errors import CareError, Code
from care_collective.web import security
from care_collective.web.api import me
from care_collective.web.pages import forms
from care_collective.web.pages.language import mark as _
from care_collective.web.pages.rendering import AnyRequest, current_member, page, require_member

_UNCONFIRMED = _("Tick this box if you mean it.")


@get("/settings/data")
async def data(request: AnyRequest) -> Response[str]:
    """What there is, and what a deletion does, before it is asked for."""
    return await _page(request, {"key": forms.new_key(request)})


@get("/settings/data/file")
async def data_file(request: AnyRequest) -> Stream:
    """Everything of one's own, to keep."""
    await require_member(request)
    return await me.file_of(request)


@post("/settings/data")
async def delete(request: AnyRequest) -> Response[Any]:
    """Deletes the account of who types its password and ticks the box; else the form again, with why not."""
    form = await forms.sent(request, "password", "confirm")
    password = form.pop("password")
    try:
        _member, caller = await forms.author(request, form)
        if form["confirm"] != "delete":
            raise CareError.invalid(confirm=_UNCONFIRMED)
        services = security.services(request)
        await services.accounts.prove(caller, password, address=security.client_address(request))
        (await leaving.delete(services.database, caller, form["confirm"])).success()
    except CareError as error:
        if error.code is Code.UNAUTHENTICATED:
            return await forms.sign_in_again(request, {}, "/settings/data")
        again = await _page(
            request, forms.kept(request, form, error), status=error.status, errors=forms.fields_of(error)
        )
        return forms.with_error(request, again, error)
    answer = forms.see_other("/settings/data/gone")
    answer.set_cookie(security.session_cookie(request, None))
    return answer


@get("/settings/data/gone")
async def gone(request: AnyRequest) -> Response[Any]:
    """That it is done, to somebody who is nobody here now. Whoever is signed in has followed a stranger's link."""
    if await current_member(request) is not None:
        return forms.see_other("/settings/data")
    return await page(request, "leaving/gone.html", member=None)


async def _page(request: AnyRequest, form: dict[str, str], **context: Any) -> Response[str]:  # noqa: ANN401
    member = await require_member(request)
    return await page(request, "leaving/data.html", member=member, form=form, **{"errors": {}, **context})


router = Router("/", include_in_schema=False, route_handlers=[data, data_file, delete, gone])
