"""Problems over HTTP: a member tells that a conversation could not be opened or used."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, post
from litestar.params import JSONBody

from care_collective import text
from care_collective.errors import Code
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class ProblemReported(msgspec.Struct, frozen=True):
    """A report of a problem that was taken."""

    success: Literal[True]
    problem_id: UUID
    message: str


class Problem(msgspec.Struct, frozen=True):
    """What it was about, the code and reference that were shown, and words of up to 500 characters; each may be left
    out."""

    conversation_id: UUID | None = None
    help_request_id: UUID | None = None
    code: Annotated[str | None, text.PROBLEM_CODE.described] = None
    reference: Annotated[str | None, text.REFERENCE.described] = None
    words: Annotated[str | None, text.PROBLEM_WORDS.described] = None


@post("/", responses=schemas.answers(ProblemReported, *schemas.ADDITIONS, Code.RATE_LIMITED, status=201))
async def report_problem(request: MemberRequest, data: JSONBody[Problem]) -> Response[bytes]:
    """Tell that a conversation could not be opened or used. 5 an hour; an id that is not the caller's is left out."""
    answer = await security.services(request).messaging.report_problem(request.user, **msgspec.structs.asdict(data))
    return replies.passed_on(answer, status=201)


router = Router(
    "/api/problems",
    guards=[security.member],
    before_request=check_query,
    tags=["problems"],
    route_handlers=[report_problem],
)
