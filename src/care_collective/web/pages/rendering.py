"""Turns a template and its context into a page, with what every page shows: the community and the member."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response

from care_collective.accounts import sessions
from care_collective.errors import CareError, Code
from care_collective.web import security
from care_collective.web.api.schemas import Unread
from care_collective.web.pages.clock import Clock, zone_of
from care_collective.web.pages.environments import ENVIRONMENTS
from care_collective.web.pages.language import Language, accepted, choose
from care_collective.web.services import utc_now

AnyRequest = security.AnyRequest
# Where in a request's state its frame and what was typed are kept, for an error page that can ask for nothing.
_FRAME: Final = "page_frame"
TYPED: Final = "page_typed"


class Restriction(msgspec.Struct, frozen=True):
    """What a coordinator has taken from a member, why and until when."""

    kind: str
    until: datetime | None
    why: str


class Member(msgspec.Struct, frozen=True):
    """The signed-in person, as pages show them their own account."""

    user_id: UUID
    display_name: str
    town: str | None
    email: str | None
    verification_status: str
    decision_reason: str | None
    decided_at: datetime | None
    is_coordinator: bool
    applications_waiting: int
    is_operator: bool
    restriction: Restriction | None
    time_zone: str | None
    locale: str | None
    unread: Unread

    @property
    def may_enter(self) -> bool:
        """Whether anything of theirs is open to them but why it is not, as care.allow judges it."""
        return self.restriction is None or self.restriction.kind != "banned"

    @property
    def may_present(self) -> bool:
        """Whether they may correct their name and town, as care.allow judges it."""
        return self.restriction is None or self.restriction.kind == "limited"

    @property
    def may_browse(self) -> bool:
        """Whether requests are open to them, as care.allow judges it."""
        return self.verification_status == "approved" and self.may_enter

    @property
    def may_offer(self) -> bool:
        """Whether they may ask and offer, as care.allow judges it."""
        return self.verification_status == "approved" and self.restriction is None

    @property
    def may_coordinate(self) -> bool:
        """Whether they may act as a coordinator, as care.allow judges it."""
        return self.is_coordinator and self.may_offer

    @property
    def may_write(self) -> bool:
        """Whether they may write in their conversations, as care.allow judges it."""
        return self.verification_status == "approved" and (
            self.restriction is None or self.restriction.kind == "limited"
        )


async def current_member(request: AnyRequest) -> Member | None:
    """The signed-in member, or None; a session whose member is gone is nobody's."""
    # Routers of forms have no guard: what was typed is read before anything that can fail (forms.sent).
    if request.scope.get("user") is None:
        request.scope["user"] = await security.identify(request)
    if request.user.user_id is None:
        return None
    try:
        text = (await security.services(request).accounts.me(request.user)).success()
    except CareError as error:
        if error.code is Code.PERMISSION_DENIED:
            return None
        raise
    member = msgspec.json.decode(text, type=Member)
    await frame(request, member)
    return member


async def require_member(request: AnyRequest) -> Member:
    """The signed-in member. Errors: CareError `unauthenticated`, which pages answer by the sign-in form."""
    member = await current_member(request)
    if member is None:
        raise CareError(Code.UNAUTHENTICATED)
    return member


def language_of(request: AnyRequest, *wishes: str | None, otherwise: str | None = None) -> Language:
    """The language of an answer: the member's wish, else the browser's, else the community's."""
    return choose(*wishes, *accepted(request.headers.get("accept-language", "")), otherwise)


async def frame(request: AnyRequest, member: Member | None) -> dict[str, Any]:
    """What every page shows to the person who asked, in their community, language and time zone."""
    services = security.services(request)
    community = await services.communities.of_host(request.headers.get("host", ""))
    language = language_of(
        request, member.locale if member else None, otherwise=community.locale if community else None
    )
    zone = zone_of(member.time_zone if member else None, community.time_zone if community else None)
    token = security.session_token(request)
    made: dict[str, Any] = {
        "member": member,
        "community": community,
        "clock": Clock(language, zone, services.now()),
        "csrf_token": sessions.csrf_token(services.secret_key, token) if token and member else "",
        "request_id": request.scope["state"]["request_id"],
        "sends": services.settings.smtp_url is not None,
    }
    request.scope["state"][_FRAME] = made
    return made


async def page(
    request: AnyRequest, template: str, *, member: Member | None, status: int = 200, **context: object
) -> Response[str]:
    """A page for the person who asked, in their community.

    Its errors come with the request's id where somebody else has to look, not where the form is to be mended.
    """
    known = await frame(request, member)
    quoted = {} if status >= 500 or status == 429 else {"request_id": None}
    return render(template, status=status, **{**known, **quoted, **context})


def error_page(request: AnyRequest, *, status: int, **context: object) -> Response[str]:
    """The page of a refusal or fault; it needs no database, and shows whom the request had found before."""
    state = request.scope["state"]
    clock = Clock(language_of(request), UTC, security.services(request).now())
    # A cookie proves nobody, and a page that is not there is no reason to ask whose it is: it only turns the header's
    # links from those to join into those to one's own pages, each of which asks.
    perhaps = security.session_token(request) is not None
    known = state.get(_FRAME, {"clock": clock, "request_id": state["request_id"], "perhaps_member": perhaps})
    typed = {"typed": state.get(TYPED), "typed_path": request.scope["path"]}
    return render("error.html", status=status, **{**known, **typed, **context})


def refusal_page(headers: Iterable[tuple[bytes, bytes]], error: CareError, **context: object) -> bytes:
    """The page of a refusal at the door, before anything is known but the request's own headers."""
    wished = ",".join(value.decode("latin-1") for name, value in headers if name == b"accept-language")
    clock = Clock(choose(*accepted(wished)), UTC, utc_now())
    return str(render("error.html", clock=clock, status=error.status, words=error.message, **context).content).encode()


def render(template: str, *, clock: Clock, status: int = 200, **context: object) -> Response[str]:
    """A page from its context alone, in the clock's language."""
    shown: dict[str, object] = {"community": None, "member": None, "status": status, "clock": clock, **context}
    html = ENVIRONMENTS[clock.language.code].get_template(template).render(shown)
    return Response(html, status_code=status, media_type="text/html")
