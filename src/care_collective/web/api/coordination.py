"""What coordinators do, over HTTP: look at who wants to join, approve or reject."""

from typing import Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from care_collective.accounts.applications import Applications, Decision
from care_collective.errors import Code
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class Applicant(msgspec.Struct, frozen=True):
    """Somebody who wants to join, or was not approved."""

    user_id: UUID
    display_name: str
    town: str | None
    application_words: str | None
    status: Literal["pending", "rejected"]
    decision_reason: str | None
    decided_at: schemas.Moment | None
    created_at: schemas.Moment


class ApplicationPage(msgspec.Struct, frozen=True):
    """A page of applications; `next_cursor` is null at the end."""

    success: Literal[True]
    applications: list[Applicant]
    next_cursor: str | None


class ApplicationDecided(msgspec.Struct, frozen=True):
    """What was decided."""

    success: Literal[True]
    user_id: UUID
    status: Literal["approved", "rejected"]


def _applications(request: MemberRequest) -> Applications:
    return security.services(request).applications


@get("/applications", responses=schemas.answers(ApplicationPage, *schemas.ALWAYS))
async def list_applications(
    request: MemberRequest, cursor: schemas.Cursor = None, limit: schemas.Limit = 20, waiting: FromQuery[bool] = True
) -> Response[bytes]:
    """Who waits for approval, longest first; with `waiting` false who was not approved. For coordinators."""
    return replies.passed_on(
        await _applications(request).list(request.user, waiting=waiting, cursor=cursor, limit=limit)
    )


async def _decide(
    request: MemberRequest, applicant_id: UUID, decision: Decision, data: schemas.Reason | None
) -> Response[bytes]:
    reason = data.reason if data is not None else None
    return replies.passed_on(await _applications(request).decide(request.user, applicant_id, decision, reason))


@post(
    "/applications/{applicant_id:uuid}/approve",
    status_code=200,
    responses=schemas.answers(ApplicationDecided, *schemas.WRITES, Code.NOT_FOUND),
)
async def approve_application(
    request: MemberRequest, applicant_id: FromPath[UUID], data: JSONBody[schemas.Reason | None] = None
) -> Response[bytes]:
    """Approve somebody, also one who was rejected before. For coordinators."""
    return await _decide(request, applicant_id, "approve", data)


@post(
    "/applications/{applicant_id:uuid}/reject",
    status_code=200,
    responses=schemas.answers(ApplicationDecided, *schemas.WRITES, Code.NOT_FOUND),
)
async def reject_application(
    request: MemberRequest, applicant_id: FromPath[UUID], data: JSONBody[schemas.Reason | None] = None
) -> Response[bytes]:
    """Do not approve somebody who waits. For coordinators."""
    return await _decide(request, applicant_id, "reject", data)


router = Router(
    "/api/admin",
    guards=[security.member],
    before_request=check_query,
    tags=["coordination"],
    route_handlers=[list_applications, approve_application, reject_application],
)
