"""Web push over HTTP: the browsers by which a member is told, in the place of letters."""

from typing import Annotated, Literal

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.params import JSONBody

from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest

_Endpoint = Annotated[
    str,
    msgspec.Meta(
        description="The browser's address at its push service",
        extra_json_schema={"pattern": "^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[!-~]*$", "maxLength": 1000},
    ),
]


class Browser(msgspec.Struct, frozen=True):
    """A browser that one is told by. `digest`: the SHA-256 of its endpoint, in hexadecimal."""

    digest: str
    created_at: schemas.Moment
    last_ok_at: schemas.Moment | None


class OwnBrowsers(msgspec.Struct, frozen=True):
    """One's own browsers."""

    success: Literal[True]
    subscriptions: list[Browser]


class PushAnswer(OwnBrowsers, frozen=True, kw_only=True):
    """One's own browsers, and the key to subscribe with (applicationServerKey); null where no web push is offered."""

    key: str | None


class NewBrowser(msgspec.Struct, frozen=True):
    """A subscription as browsers hand it out; the keys are base64url without padding."""

    endpoint: _Endpoint
    p256dh: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^B[A-Za-z0-9_-]{85}[AEIMQUYcgkosw048]$"})]
    auth: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[A-Za-z0-9_-]{21}[AQgw]$"})]


class KnownBrowser(msgspec.Struct, frozen=True):
    """Which browser."""

    endpoint: str


@get("/", responses=schemas.answers(PushAnswer, *schemas.ALWAYS))
async def list_push_subscriptions(request: MemberRequest) -> Response[bytes]:
    """The browsers by which one is told, and the key for one more."""
    services = security.services(request)
    found = msgspec.json.decode((await services.browsers.list(request.user)).success(), type=OwnBrowsers)
    key = None if services.pusher is None else services.pusher.services.public_key
    return replies.made(PushAnswer(True, found.subscriptions, key=key))


@post("/", status_code=200, responses=schemas.answers(schemas.Done, *schemas.ADDITIONS))
async def add_push_subscription(request: MemberRequest, data: JSONBody[NewBrowser]) -> Response[bytes]:
    """Be told by this browser instead of by letters. Up to 10; an eleventh replaces the one used least lately."""
    browsers = security.services(request).browsers
    return replies.passed_on(await browsers.add(request.user, data.endpoint, data.p256dh, data.auth))


@delete("/", status_code=200, responses=schemas.answers(schemas.Done, *schemas.ADDITIONS))
async def remove_push_subscription(request: MemberRequest, data: JSONBody[KnownBrowser]) -> Response[bytes]:
    """Be told by this browser no more. Without any, letters come again."""
    return replies.passed_on(await security.services(request).browsers.remove(request.user, data.endpoint))


router = Router(
    "/api/messaging/push",
    guards=[security.member],
    before_request=check_query,
    tags=["notifications"],
    route_handlers=[list_push_subscriptions, add_push_subscription, remove_push_subscription],
)
