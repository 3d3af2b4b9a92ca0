"""One's own data over HTTP: all of it as a file, and the end of the account."""

from collections.abc import AsyncGenerator
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, delete, get
from litestar.params import JSONBody
from litestar.response import Stream

from care_collective.accounts import leaving
from care_collective.errors import CareError, Code
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class ExportedMessage(schemas.Message, frozen=True):
    """A message and the conversation it stands in."""

    conversation_id: UUID


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one person's own in a community, and what they can read of others in their conversations.

    The parts have the fields that are kept; further ones may come. `marks` are what of each conversation was read,
    muted or archived, `letters` when they were written to, `limits` what of each limit is used, `attempts` when they
    tried to open a conversation, `operated` what they did as an operator.
    """

    exported_at: schemas.Moment
    community: schemas.CommunitySummary
    account: dict[str, Any]
    profile: dict[str, Any]
    sessions: list[dict[str, Any]]
    push_subscriptions: list[dict[str, Any]]
    preferences: dict[str, Any] | None
    restrictions: list[dict[str, Any]]
    blocks: list[dict[str, Any]]
    help_requests: list[dict[str, Any]]
    conversations: list[schemas.Conversation]
    marks: list[dict[str, Any]]
    notifications: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    problem_reports: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    operated: list[dict[str, Any]]
    messages: list[ExportedMessage]


class Left(msgspec.Struct, frozen=True):
    """An account that was deleted."""

    success: Literal[True]
    message: str


class ExportPage(msgspec.Struct, frozen=True, kw_only=True):
    """Up to 2000 messages of an export; the first page, asked for without a cursor, has all of its other parts, too."""

    success: Literal[True]
    messages: list[ExportedMessage]
    next_cursor: str | None
    exported_at: schemas.Moment | None = None
    community: schemas.CommunitySummary | None = None
    account: dict[str, Any] | None = None
    profile: dict[str, Any] | None = None
    sessions: list[dict[str, Any]] | None = None
    push_subscriptions: list[dict[str, Any]] | None = None
    preferences: dict[str, Any] | None = None
    restrictions: list[dict[str, Any]] | None = None
    blocks: list[dict[str, Any]] | None = None
    help_requests: list[dict[str, Any]] | None = None
    conversations: list[schemas.Conversation] | None = None
    marks: list[dict[str, Any]] | None = None
    notifications: list[dict[str, Any]] | None = None
    letters: list[dict[str, Any]] | None = None
    problem_reports: list[dict[str, Any]] | None = None
    limits: list[dict[str, Any]] | None = None
    attempts: list[dict[str, Any]] | None = None
    operated: list[dict[str, Any]] | None = None


class Leaving(msgspec.Struct, frozen=True):
    """`confirm` is the word delete. With the session cookie the password is asked for once more; a token needs none."""

    confirm: str
    password: str | None = None


@get("/export", responses=schemas.answers(Export, *schemas.ALWAYS, Code.RATE_LIMITED))
async def export_my_data(request: MemberRequest) -> Stream:
    """Everything of one's own, as a file to keep; also for a member who is banned or waits for approval."""
    return await file_of(request)


async def file_of(request: MemberRequest) -> Stream:
    """The caller's export as a download. Errors: CareError."""
    services = security.services(request)
    pieces = leaving.export(services.database, request.user)
    first = await anext(pieces)  # a refusal is an answer and no file
    name = f"care-collective-{services.now():%Y-%m-%d}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(_joined(first, pieces), media_type="application/json", headers=headers)


async def _joined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in rest:
        yield piece


@delete("/", status_code=200, responses=schemas.answers(Left, *schemas.ALWAYS, Code.CONFLICT))
async def delete_account(request: MemberRequest, data: JSONBody[Leaving]) -> Response[bytes]:
    """Delete one's account and erase one's data, for good. What one wrote to others stays theirs to read.

    It takes no idempotency key: after it there is no member, and a retry is refused as nobody's.
    """
    services = security.services(request)
    if "authorization" not in request.headers:
        if data.password is None:
            raise CareError.invalid(password="Please type your password.")  # noqa: S106  a sentence
        await services.accounts.prove(request.user, data.password, address=security.client_address(request))
    answer = await leaving.delete(services.database, request.user, data.confirm)
    gone = replies.passed_on(answer)
    gone.set_cookie(security.session_cookie(request, None))
    return gone


router = Router(
    "/api/me",
    guards=[security.member],
    before_request=check_query,
    tags=["accounts"],
    route_handlers=[export_my_data, delete_account],
)
