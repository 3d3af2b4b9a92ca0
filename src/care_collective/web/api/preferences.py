"""Preferences and profile over HTTP: what a member has chosen of their own, and the name they go by."""

from typing import Literal

import msgspec
from litestar import Response, Router, get, put
from litestar.params import JSONBody

from care_collective.accounts import preferences
from care_collective.accounts.preferences import Choices, Presented
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class Preferences(msgspec.Struct, frozen=True):
    """What a member has chosen: times of day as 21:00; a null locale or time_zone is the community's."""

    email: Literal["each", "daily", "off"]
    quiet_from: str
    quiet_to: str
    offers_paused: bool
    locale: Literal["en", "es"] | None
    time_zone: str | None


class PreferencesAnswer(msgspec.Struct, frozen=True):
    """One's own preferences."""

    success: Literal[True]
    preferences: Preferences


class Profile(msgspec.Struct, frozen=True):
    """How a member is known to others."""

    display_name: str
    town: str | None


class ProfileAnswer(msgspec.Struct, frozen=True):
    """One's own profile."""

    success: Literal[True]
    profile: Profile


def _preferences(request: MemberRequest) -> preferences.Preferences:
    return security.services(request).preferences


@get("/messaging/preferences", responses=schemas.answers(PreferencesAnswer, *schemas.ALWAYS))
async def get_preferences(request: MemberRequest) -> Response[bytes]:
    """One's own preferences: letters, quiet hours, whether new offers are paused, language and time zone."""
    return replies.passed_on(await _preferences(request).get(request.user))


@put("/messaging/preferences", responses=schemas.answers(PreferencesAnswer, *schemas.ADDITIONS))
async def set_preferences(request: MemberRequest, data: JSONBody[Choices]) -> Response[bytes]:
    """Set all of one's own preferences. While new offers are paused, one's requests read as unavailable to others."""
    return replies.passed_on(await _preferences(request).set(request.user, data))


@get("/me/profile", responses=schemas.answers(ProfileAnswer, *schemas.ALWAYS))
async def get_profile(request: MemberRequest) -> Response[bytes]:
    """The name and town by which others know the caller."""
    return replies.passed_on(await _preferences(request).profile(request.user))


@put("/me/profile", responses=schemas.answers(ProfileAnswer, *schemas.ADDITIONS))
async def set_profile(request: MemberRequest, data: JSONBody[Presented]) -> Response[bytes]:
    """Correct one's own name and town; also before one is approved."""
    return replies.passed_on(await _preferences(request).set_profile(request.user, data))


router = Router(
    "/api",
    guards=[security.member],
    before_request=check_query,
    tags=["preferences"],
    route_handlers=[get_preferences, set_preferences, get_profile, set_profile],
)
