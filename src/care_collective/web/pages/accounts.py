"""Home, joining, signing in and out, and one's own status."""

import re
from typing import Any, Final

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.response import Redirect

from care_collective.accounts import sessions
from care_collective.accounts.people import Application
from care_collective.errors import CareError
from care_collective.web import security
from care_collective.web.api.auth import community_of, open_session
from care_collective.web.errors import log_fault
from care_collective.web.pages.rendering import current_member, page, require_member

AnyRequest = Request[Any, Any, Any]
_LONGEST_PATH: Final = 2000


def safe_path(path: str) -> str:
    """A path of this site to go on to, or the home page for anything that could lead elsewhere."""
    # Browsers read a backslash as a slash and drop control characters: both make //host out of what looks like a path.
    if len(path) <= _LONGEST_PATH and re.match("/(?!/)", path) and path.isprintable() and "\\" not in path:
        return path
    return "/"


async def _form(request: AnyRequest, *names: str) -> dict[str, str]:
    """The named fields of a posted form, '' where absent; browsers send a line break as two characters."""
    posted = await request.form()
    values = {name: posted.get(name) for name in names}
    return {name: value.replace("\r\n", "\n") if isinstance(value, str) else "" for name, value in values.items()}


async def _signed_in(request: AnyRequest, token: str, path: str) -> Redirect:
    answer = Redirect(path, status_code=303)
    answer.set_cookie(security.session_cookie(request, token))
    return answer


@get("/")
async def home(request: AnyRequest) -> Response[str]:
    """What this community is; for a member the own status."""
    return await page(request, "home.html", member=await current_member(request))


@get("/sign-in")
async def sign_in_form(request: AnyRequest) -> Response[str]:
    """The sign-in form."""
    path = safe_path(request.query_params.get("next", "/"))
    return await page(request, "accounts/sign_in.html", member=None, form={}, errors={}, next_path=path)


@post("/sign-in")
async def sign_in(request: AnyRequest) -> Response[Any]:
    """Signs in and goes on to where the person was headed; else the form again, with what was typed."""
    security.check_origin(request)
    form = await _form(request, "email", "password", "next")
    path = safe_path(form["next"])
    try:
        community_id = await community_of(request)
        user_id = await security.services(request).accounts.sign_in(
            community_id, form["email"], form["password"], address=security.client_address(request)
        )
        token = await open_session(request, user_id, community_id)
    except CareError as error:
        return await _again(request, "accounts/sign_in.html", error, {"email": form["email"]}, next_path=path)
    return await _signed_in(request, token, path)


@get("/sign-up")
async def sign_up_form(request: AnyRequest) -> Response[str]:
    """The form to join."""
    return await page(request, "accounts/sign_up.html", member=None, form={}, errors={})


@post("/sign-up")
async def sign_up(request: AnyRequest) -> Response[Any]:
    """Joins as a pending member and shows the status; else the form again, with what was typed."""
    security.check_origin(request)
    names = ("email", "password", "display_name", "town", "application_words")
    form = await _form(request, *names)
    try:
        community_id = await community_of(request)
        application = msgspec.convert({name: form[name] for name in names}, Application)
        user_id = await security.services(request).accounts.sign_up(
            community_id, application, address=security.client_address(request)
        )
        token = await open_session(request, user_id, community_id)
    except CareError as error:
        kept = {name: value for name, value in form.items() if name != "password"}
        return await _again(request, "accounts/sign_up.html", error, kept)
    return await _signed_in(request, token, "/account")


async def _again(
    request: AnyRequest, template: str, error: CareError, form: dict[str, str], **context: object
) -> Response[str]:
    log_fault(request, error, error)
    fields = error.extras.get("fields") or {"form": error.message}
    answer = await page(request, template, member=None, form=form, errors=fields, status=error.status, **context)
    if "retry_after" in error.extras:
        answer.headers["Retry-After"] = str(error.extras["retry_after"])
    return answer


@post("/sign-out")
async def sign_out(request: AnyRequest) -> Redirect:
    """Ends this browser's session."""
    form = await _form(request, security.CSRF_FIELD)
    security.check_csrf(request, form[security.CSRF_FIELD])
    token = security.session_token(request)
    if token is not None:
        await sessions.end(security.services(request).database, token)
    answer = Redirect("/", status_code=303)
    answer.set_cookie(security.session_cookie(request, None))
    return answer


@get("/account")
async def account(request: AnyRequest) -> Response[str]:
    """One's own status: what one may do, why not, and what to do next."""
    return await page(request, "accounts/status.html", member=await require_member(request))


router = Router(
    "/",
    guards=[security.anyone],
    include_in_schema=False,
    route_handlers=[home, sign_in_form, sign_in, sign_up_form, sign_up, sign_out, account],
)
