"""Preferences and profile over HTTP: what a member has chosen of their own, and the name they go by."""

from litestar import Response, Router, get, put
from litestar.params import JSONBody

from care_collective.accounts.preferences import Choices, Preferences, Presented
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


def _preferences(request: MemberRequest) -> Preferences:
    return security.services(request).preferences


@get("/messaging/preferences", responses=schemas.answers(schemas.PreferencesAnswer, *schemas.ALWAYS))
async def get_preferences(request: MemberRequest) -> Response[bytes]:
    """One's own preferences: letters, quiet hours, whether new offers are paused, language and time zone."""
    return replies.passed_on(await _preferences(request).get(request.user))


@put("/messaging/preferences", responses=schemas.answers(schemas.PreferencesAnswer, *schemas.ADDITIONS))
async def set_preferences(request: MemberRequest, data: JSONBody[Choices]) -> Response[bytes]:
    """Set all of one's own preferences. While new offers are paused, one's requests read as unavailable to others."""
    return replies.passed_on(await _preferences(request).set(request.user, data))


@get("/me/profile", responses=schemas.answers(schemas.ProfileAnswer, *schemas.ALWAYS))
async def get_profile(request: MemberRequest) -> Response[bytes]:
    """The name and town by which others know the caller."""
    return replies.passed_on(await _preferences(request).profile(request.user))


@put("/me/profile", responses=schemas.answers(schemas.ProfileAnswer, *schemas.ADDITIONS))
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
