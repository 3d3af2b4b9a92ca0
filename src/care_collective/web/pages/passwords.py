"""A new password: for who knows the present one, and for who forgot it, by a letter.

Nothing typed here is ever shown again, kept for later or logged.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from litestar import Response, Router, get, post
from litestar.background_tasks import BackgroundTask
from litestar.response import Redirect

from care_collective.errors import CareError, Code
from care_collective.web import security
from care_collective.web.api.auth import community_of
from care_collective.web.pages import forms
from care_collective.web.pages.language import mark as _
from care_collective.web.pages.rendering import AnyRequest, current_member, page, require_member

log = structlog.get_logger("care_collective.web")
_STALE = _("This page had been open for too long. Please type it again.")


@get("/settings/password")
async def change_form(request: AnyRequest) -> Response[str]:
    """The form to change one's password."""
    return await _change_page(request)


async def _change_page(
    request: AnyRequest, *, status: int = 200, errors: dict[str, str] | None = None
) -> Response[str]:
    member = await require_member(request)
    return await page(request, "settings/password.html", member=member, status=status, errors=errors or {}, form={})


@post("/settings/password")
async def change(request: AnyRequest) -> Response[Any]:
    """Changes one's password, which takes the present one, and ends one's other sessions."""
    security.check_origin(request)
    # Not forms.sent: what that reads can be shown again.
    form = await forms.read(request, "present", "password", security.CSRF_FIELD)
    try:
        member = await require_member(request)
        security.check_csrf(request, form[security.CSRF_FIELD])
        await security.services(request).accounts.change_password(
            request.user,
            email=member.email or "",
            present=form["present"],
            password=form["password"],
            session=security.session_token(request),
            address=security.client_address(request),
        )
    except CareError as error:
        if error.code is Code.UNAUTHENTICATED:
            return await forms.sign_in_again(request, {}, "/settings/password")
        errors = {"form": _STALE} if error.reason == "csrf" else forms.fields_of(error)
        return forms.with_error(request, await _change_page(request, status=error.status, errors=errors), error)
    return forms.see_other("/settings?done=password")


@get("/password/forgotten")
async def forgotten_form(request: AnyRequest) -> Response[str]:
    """Where who forgot their password asks for a letter; without a mail server, whom to ask."""
    return await _forgotten_page(request, asked=request.query_params.get("done") == "asked")


async def _forgotten_page(request: AnyRequest, *, status: int = 200, **context: Any) -> Response[str]:  # noqa: ANN401
    shown = {"form": {}, "errors": {}, "asked": False, **context}
    return await page(request, "passwords/forgotten.html", member=await current_member(request), status=status, **shown)


@post("/password/forgotten")
async def forgotten(request: AnyRequest) -> Response[Any]:
    """Takes the wish for a letter. Whether there is such an account is looked up once this has been answered, so that
    neither the answer nor its time tells."""
    security.check_origin(request)
    if security.services(request).settings.smtp_url is None:
        return forms.see_other("/password/forgotten")
    form = await forms.read(request, "email")
    try:
        make = await security.services(request).accounts.ask_reset(
            await community_of(request), form["email"], address=security.client_address(request)
        )
        if make is None:
            raise CareError.invalid(email="Please give an e-mail address, such as name@example.org.")
    except CareError as error:
        again = await _forgotten_page(request, status=error.status, form=form, errors=forms.fields_of(error))
        return forms.with_error(request, again, error)
    afterwards = BackgroundTask(_make, make, request.scope["state"]["request_id"])
    return Redirect("/password/forgotten?done=asked", status_code=303, background=afterwards)


async def _make(make: Callable[[], Awaitable[None]], request_id: str) -> None:
    try:
        await make()
    except CareError as error:
        log.warning("web.reset_not_made", code=str(error.code), request_id=request_id)


@get("/password/new")
async def new_form(request: AnyRequest) -> Response[str]:
    """Where a letter's link leads: the form for a new password, or that the link has ended."""
    token = request.query_params.get("token", "")
    services = security.services(request)
    if not await services.accounts.has_reset(services.secret_key, token, now=services.now()):
        return await _new_page(request, token=None, status=404)
    return await _new_page(request, token=token)


async def _new_page(
    request: AnyRequest, *, token: str | None, status: int = 200, errors: dict[str, str] | None = None
) -> Response[str]:
    member = await current_member(request)
    context = {"token": token, "errors": errors or {}, "form": {}}
    return await page(request, "passwords/new.html", member=member, status=status, **context)


@post("/password/new")
async def new(request: AnyRequest) -> Response[Any]:
    """Sets a new password by a letter's link, ends all sessions and leads to the sign-in form, which says so."""
    security.check_origin(request)
    form = await forms.read(request, "token", "password")
    services = security.services(request)
    try:
        await services.accounts.reset_password(
            await community_of(request),
            services.secret_key,
            form["token"],
            form["password"],
            address=security.client_address(request),
            now=services.now(),
        )
    except CareError as error:
        token = None if error.code is Code.NOT_FOUND else form["token"]
        shown = await _new_page(request, token=token, status=error.status, errors=forms.fields_of(error))
        return forms.with_error(request, shown, error)
    return forms.see_other("/sign-in?done=password")


router = Router(
    "/",
    include_in_schema=False,
    route_handlers=[change_form, change, forgotten_form, forgotten, new_form, new],
)
