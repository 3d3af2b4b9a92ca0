"""Help requests over HTTP: ask, browse, change, end."""

from uuid import UUID

from litestar import Response, Router, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from care_collective.errors import Code
from care_collective.requests.service import Ask, Category, Filters, Listed, Requests, Urgency
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


def _requests(request: MemberRequest) -> Requests:
    return security.services(request).requests


@post("/", responses=schemas.answers(schemas.HelpRequestMoved, *schemas.ADDITIONS, Code.RATE_LIMITED, status=201))
async def create_request(request: MemberRequest, data: JSONBody[Ask]) -> Response[bytes]:
    """Ask for help."""
    return replies.passed_on(await _requests(request).create(request.user, data), status=201)


@get("/", responses=schemas.answers(schemas.HelpRequestPage, *schemas.ALWAYS))
async def list_requests(
    request: MemberRequest,
    cursor: schemas.Cursor = None,
    limit: schemas.Limit = 20,
    status: FromQuery[Listed] = "taking_offers",
    category: FromQuery[Category | None] = None,
    urgency: FromQuery[Urgency | None] = None,
    search: schemas.Search = None,
    mine: FromQuery[bool] = False,
) -> Response[bytes]:
    """Requests of the community, newest first; by status, category, urgency and words, or only one's own."""
    filters = Filters(
        cursor=cursor, limit=limit, status=status, category=category, urgency=urgency, search=search, mine=mine
    )
    return replies.passed_on(await _requests(request).list(request.user, filters))


@get("/{help_request_id:uuid}", responses=schemas.answers(schemas.HelpRequestAnswer, *schemas.ALWAYS, Code.NOT_FOUND))
async def get_request(request: MemberRequest, help_request_id: FromPath[UUID]) -> Response[bytes]:
    """One request."""
    return replies.passed_on(await _requests(request).get(request.user, help_request_id))


@put("/{help_request_id:uuid}", responses=schemas.answers(schemas.HelpRequestMoved, *schemas.WRITES, Code.NOT_FOUND))
async def update_request(
    request: MemberRequest, help_request_id: FromPath[UUID], data: JSONBody[Ask]
) -> Response[bytes]:
    """Rewrite one of one's own requests while it takes offers."""
    return replies.passed_on(await _requests(request).update(request.user, help_request_id, data))


@post(
    "/{help_request_id:uuid}/cancel",
    status_code=200,
    responses=schemas.answers(schemas.HelpRequestMoved, *schemas.WRITES, Code.NOT_FOUND),
)
async def cancel_request(
    request: MemberRequest, help_request_id: FromPath[UUID], data: JSONBody[schemas.Reason | None] = None
) -> Response[bytes]:
    """Take a request back. A body with a reason may be sent, or none."""
    reason = data.reason if data is not None else None
    return replies.passed_on(await _requests(request).cancel(request.user, help_request_id, reason))


@post(
    "/{help_request_id:uuid}/complete",
    status_code=200,
    responses=schemas.answers(schemas.HelpRequestMoved, *schemas.WRITES, Code.NOT_FOUND),
)
async def complete_request(request: MemberRequest, help_request_id: FromPath[UUID]) -> Response[bytes]:
    """Mark a request as done."""
    return replies.passed_on(await _requests(request).complete(request.user, help_request_id))


@post(
    "/{help_request_id:uuid}/reopen",
    status_code=200,
    responses=schemas.answers(schemas.HelpRequestMoved, *schemas.WRITES, Code.NOT_FOUND),
)
async def reopen_request(request: MemberRequest, help_request_id: FromPath[UUID]) -> Response[bytes]:
    """Open a completed or cancelled request again."""
    return replies.passed_on(await _requests(request).reopen(request.user, help_request_id))


router = Router(
    "/api/requests",
    guards=[security.member],
    before_request=check_query,
    tags=["requests"],
    route_handlers=[
        create_request,
        list_requests,
        get_request,
        update_request,
        cancel_request,
        complete_request,
        reopen_request,
    ],
)
