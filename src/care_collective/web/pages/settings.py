"""Settings as pages: letters, quiet hours, new offers, language and clock, and the name one goes by."""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from litestar import Response, Router, get, post
from litestar.response import Redirect

from care_collective.accounts.preferences import LETTERS, Choices, Letters, Locale, Presented
from care_collective.errors import CareError
from care_collective.web import security
from care_collective.web.api.preferences import PreferencesAnswer
from care_collective.web.api.push import OwnBrowsers
from care_collective.web.pages import forms
from care_collective.web.pages.rendering import AnyRequest, Member, page, require_member
from care_collective.web.pages.zones import by_region

CHOSEN: Final = ("email", "quiet_from", "quiet_to", "offers_paused", "locale", "time_zone")
PRESENTED: Final = ("display_name", "town")
NOTICES: Final = frozenset({"saved", "profile", "password"})
# Each in its own words: who does not read the present one has to find theirs.
LANGUAGES: Final = (("en", "English"), ("es", "Español"))


async def _stored(request: AnyRequest, member: Member) -> dict[str, str]:
    answer = await security.services(request).preferences.get(request.user)
    found = msgspec.json.decode(answer.success(), type=PreferencesAnswer).preferences
    return {
        "email": found.email,
        "quiet_from": found.quiet_from,
        "quiet_to": found.quiet_to,
        "offers_paused": "yes" if found.offers_paused else "no",
        "locale": found.locale or "",
        "time_zone": found.time_zone or "",
        "display_name": member.display_name,
        "town": member.town or "",
        "key": forms.new_key(request),
    }


async def _push(request: AnyRequest) -> dict[str, str] | None:
    """What push.js has to know: the key to subscribe with, and which browsers are on. None where no push is offered."""
    services = security.services(request)
    if services.pusher is None:
        return None
    found = msgspec.json.decode((await services.browsers.list(request.user)).success(), type=OwnBrowsers)
    known = " ".join(one.digest for one in found.subscriptions)
    return {"key": services.pusher.services.public_key, "known": known}


async def _page(
    request: AnyRequest, *, form: Mapping[str, str], errors: Mapping[str, str], status: int = 200
) -> Response[str]:
    """The page, with what was typed in one of its forms. Whoever is banned finds why, and their own data, alone."""
    member = await require_member(request)
    return await page(
        request,
        "settings/settings.html",
        member=member,
        status=status,
        form={**await _stored(request, member), **form} if member.may_enter else None,
        errors=errors,
        letters=LETTERS,
        languages=LANGUAGES,
        zones=by_region,
        push=await _push(request) if member.may_enter else None,
        done=forms.notice_of(request, NOTICES),
    )


@get("/settings")
async def settings(request: AnyRequest) -> Response[str]:
    """What one has chosen, to be changed."""
    return await _page(request, form={}, errors={})


def _choices(form: Mapping[str, str]) -> Choices:
    # What is no choice is refused by field with all the rest, by the function.
    return Choices(
        email=cast(Letters, form["email"]),
        quiet_from=form["quiet_from"],
        quiet_to=form["quiet_to"],
        offers_paused=form["offers_paused"] == "yes",
        locale=cast(Locale, form["locale"]) if form["locale"] else None,
        time_zone=form["time_zone"] or None,
    )


@post("/settings")
async def choose(request: AnyRequest) -> Response[Any]:
    """Keeps what was chosen; else the page again, with what was typed."""
    form = await forms.sent(request, *CHOSEN)
    try:
        _, caller = await forms.author(request, form)
        (await security.services(request).preferences.set(caller, _choices(form))).success()
    except CareError as error:
        return await forms.refused(request, error, form, _page, back="/settings")
    return forms.see_other("/settings?done=saved")


@post("/settings/profile")
async def present(request: AnyRequest) -> Response[Any]:
    """Corrects one's name and town; else the page again, with what was typed."""
    form = await forms.sent(request, *PRESENTED)
    try:
        _, caller = await forms.author(request, form)
        presented = Presented(display_name=form["display_name"], town=form["town"])
        (await security.services(request).preferences.set_profile(caller, presented)).success()
    except CareError as error:
        return await forms.refused(request, error, form, _page, back="/settings")
    return forms.see_other("/settings?done=profile")


@get("/settings/profile")
async def back() -> Redirect:
    """A form's own address, opened or reloaded after a refusal, leads to the page."""
    return forms.see_other("/settings")


router = Router("/", include_in_schema=False, route_handlers=[settings, choose, present, back])
