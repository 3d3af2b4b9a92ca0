"""Home, joining, signing in and out, and one's own status."""

from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.response import Redirect

from care_collective.accounts import sessions
from care_collective.accounts.people import Application
from care_collective.db.call import Caller
from care_collective.errors import CareError
from care_collective.requests.service import URGENCIES, Filters
from care_collective.web import security
from care_collective.web.api.auth import community_of, open_session
from care_collective.web.api.schemas import HelpRequest, HelpRequestPage
from care_collective.web.pages import forms
from care_collective.web.pages.language import mark as _
from care_collective.web.pages.rendering import AnyRequest, current_member, page, require_member

# How many requests the home page shows, of one's own and of others, and for how long it greets a newcomer.
_SHOWN: Final = 3
_WELCOMED: Final = timedelta(days=7)


async def _signed_in(request: AnyRequest, token: str, path: str) -> Redirect:
    answer = Redirect(path, status_code=303)
    answer.set_cookie(security.session_cookie(request, token))
    return answer


@get("/")
async def home(request: AnyRequest) -> Response[str]:
    """What this community is; for a member what matters now, or why nothing is open to them."""
    member = await current_member(request)
    if member is None or not member.may_browse:
        return await page(request, "home.html", member=member)
    own = await _requests(request, Filters(limit=_SHOWN, mine=True))
    others = await _requests(request, Filters(status="open"))
    near = [one for one in others if one.takes_offers and not one.is_mine and one.conversation is None]
    near.sort(key=partial(_place, member.town))
    is_new = member.decided_at is not None and security.services(request).now() - member.decided_at < _WELCOMED
    return await page(request, "home.html", member=member, own=own, near=near[:_SHOWN], greeted=is_new and not own)


def _place(town: str | None, one: HelpRequest) -> tuple[bool, bool, int]:
    """Very urgent first, then of a member's own town, where they have told it, then urgent; else as they came."""
    return one.urgency != "critical", town is None or one.owner.town != town, -URGENCIES.index(one.urgency)


async def _requests(request: AnyRequest, filters: Filters) -> list[HelpRequest]:
    answer = await security.services(request).requests.list(request.user, filters)
    return msgspec.json.decode(answer.success(), type=HelpRequestPage).help_requests


@get("/sign-in")
async def sign_in_form(request: AnyRequest) -> Response[str]:
    """The sign-in form."""
    path = forms.safe_path(request.query_params.get("next", "/"))
    return await _sign_in_page(request, path)


@post("/sign-in")
async def sign_in(request: AnyRequest) -> Response[Any]:
    """Signs in and goes on to where the person was headed; else the form again, with what was typed."""
    security.check_origin(request)
    form = await forms.read(request, "email", "password", "next", "kept_form")
    path = forms.safe_path(form["next"])
    try:
        community_id = await community_of(request)
        user_id = await security.services(request).accounts.sign_in(
            community_id, form["email"], form["password"], address=security.client_address(request)
        )
        token = await open_session(request, user_id, community_id)
    except CareError as error:
        shown = await _sign_in_page(
            request,
            path,
            status=error.status,
            form={"email": form["email"]},
            errors=forms.fields_of(error),
            kept_form=form["kept_form"],
        )
        return forms.with_error(request, shown, error)
    if form["kept_form"]:
        return await _kept(request, user_id, community_id, token, path, forms.carried(form["kept_form"]))
    return await _signed_in(request, token, path)


async def _sign_in_page(request: AnyRequest, path: str, **context: Any) -> Response[str]:  # noqa: ANN401
    done = request.query_params.get("done", "")
    shown = {"form": {}, "errors": {}, "kept_form": "", "next_path": path, "done": done, **context}
    return await page(request, "accounts/sign_in.html", member=None, **shown)


async def _kept(
    request: AnyRequest, user_id: UUID, community_id: UUID, token: str, path: str, words: dict[str, str]
) -> Response[Any]:
    """What somebody had typed when their session ended, to be sent with one tap now that they are signed in again.

    Whoever else signs in instead does not see it.
    """
    key = words.pop("key", "")
    if forms.is_anothers(key, user_id):
        return await _signed_in(request, token, "/")
    # The browser learns of its new session by this very answer.
    request.scope["user"] = Caller(user_id, community_id, request_id=request.scope["state"]["request_id"])
    csrf = sessions.csrf_token(security.services(request).secret_key, token)
    answer = await page(
        request,
        "accounts/kept.html",
        member=await require_member(request),
        path=path,
        words=words,
        key=key or forms.new_key(request),
        lede=_("You are signed in again. Nothing has been sent yet: look it over, then send it."),
        csrf_token=csrf,
    )
    answer.set_cookie(security.session_cookie(request, token))
    return answer


@get("/sign-up")
async def sign_up_form(request: AnyRequest) -> Response[str]:
    """The form to join."""
    return await page(request, "accounts/sign_up.html", member=None, form={}, errors={})


@post("/sign-up")
async def sign_up(request: AnyRequest) -> Response[Any]:
    """Joins as a pending member and shows the status; else the form again, with what was typed."""
    security.check_origin(request)
    names = ("email", "password", "display_name", "town", "application_words")
    form = await forms.read(request, *names)
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


async def _again(request: AnyRequest, template: str, error: CareError, form: dict[str, str]) -> Response[Any]:
    fields = forms.fields_of(error)
    answer = await page(request, template, member=None, form=form, errors=fields, status=error.status)
    return forms.with_error(request, answer, error)


@post("/sign-out")
async def sign_out(request: AnyRequest) -> Redirect:
    """Ends this browser's session, and notices to it where there are any (push-out.js names it)."""
    security.check_origin(request)
    form = await forms.read(request, security.CSRF_FIELD, "push_endpoint")
    security.check_csrf(request, form[security.CSRF_FIELD])
    token = security.session_token(request)
    if form["push_endpoint"]:
        await security.services(request).browsers.remove(request.user, form["push_endpoint"])
    if token is not None:
        await sessions.end(security.services(request).database, sessions.digest(token))
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
