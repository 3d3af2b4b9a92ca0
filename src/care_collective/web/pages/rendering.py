"""Turns a template and its context into a page, with what every page shows: the community and the member."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import jinja2
import msgspec
from litestar import Request, Response

from care_collective.accounts import sessions
from care_collective.errors import CareError, Code
from care_collective.web import security

AnyRequest = Request[Any, Any, Any]


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
    is_coordinator: bool
    is_operator: bool
    restriction: Restriction | None


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("care_collective.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
    return made


_ENVIRONMENT: Final = _environment()


async def current_member(request: AnyRequest) -> Member | None:
    """The signed-in member, or None; a session whose member is gone is nobody's."""
    if request.user.user_id is None:
        return None
    try:
        text = (await security.services(request).accounts.me(request.user)).success()
    except CareError as error:
        if error.code is Code.PERMISSION_DENIED:
            return None
        raise
    return msgspec.json.decode(text, type=Member)


async def require_member(request: AnyRequest) -> Member:
    """The signed-in member. Errors: CareError `unauthenticated`, which pages answer by the sign-in form."""
    member = await current_member(request)
    if member is None:
        raise CareError(Code.UNAUTHENTICATED)
    return member


async def page(
    request: AnyRequest, template: str, *, member: Member | None, status: int = 200, **context: object
) -> Response[str]:
    """A page for the person who asked, in their community."""
    services = security.services(request)
    community = await services.communities.of_host(request.headers.get("host", ""))
    token = security.session_token(request)
    return render(
        template,
        status=status,
        member=member,
        community=community,
        csrf_token=sessions.csrf_token(services.secret_key, token) if token and member else "",
        request_id=request.scope["state"]["request_id"],
        **context,
    )


def render(template: str, *, status: int = 200, **context: object) -> Response[str]:
    """A page from its context alone; an error page needs no database."""
    shown: dict[str, object] = {"community": None, "member": None, "lang": "en", "status": status, **context}
    html = _ENVIRONMENT.get_template(template).render(shown)
    return Response(html, status_code=status, media_type="text/html")
