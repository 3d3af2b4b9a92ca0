"""Conversations over HTTP: offer, list, read, write, mark, decide, close, mute. Both engines, through the facade."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from care_collective import text
from care_collective.db.call import Answer, Caller
from care_collective.errors import Code
from care_collective.messaging.service import Messaging
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class Offer(msgspec.Struct, frozen=True):
    """A helper's first message, 10 to 1000 characters."""

    initial_message: Annotated[str, text.FIRST_MESSAGE.described]


class NewMessage(msgspec.Struct, frozen=True):
    """A message, 1 to 1000 characters."""

    content: Annotated[str, text.MESSAGE.described]


class Mark(msgspec.Struct, frozen=True):
    """The seq of the last message that was read."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=schemas.LAST_SEQ)]


class Mute(msgspec.Struct, frozen=True):
    """Until when a conversation is to be muted, at most to the end of the year 9999; null: not any more."""

    until: schemas.Moment | None


class Archive(msgspec.Struct, frozen=True):
    """Whether a conversation is to be put away."""

    archived: bool


class Decision(msgspec.Struct, frozen=True):
    """A decision about one offer, with an optional reason of up to 500 characters."""

    conversation_id: UUID
    reason: Annotated[str | None, text.REASON.described] = None


def _messaging(request: MemberRequest) -> Messaging:
    return security.services(request).messaging


@post(
    "/help-requests/{help_request_id:uuid}/start-conversation",
    responses=schemas.answers(
        schemas.Started,
        *schemas.ADDITIONS,
        Code.NOT_FOUND,
        Code.CONVERSATION_EXISTS,
        Code.HELP_REQUEST_UNAVAILABLE,
        Code.RATE_LIMITED,
        status=201,
    ),
)
async def start_conversation(
    request: MemberRequest, help_request_id: FromPath[UUID], data: JSONBody[Offer]
) -> Response[bytes]:
    """Offer help: opens a conversation with its first message, or leads to the one there is (409)."""
    result = await _messaging(request).start_help_conversation(request.user, help_request_id, data.initial_message)
    result.raised()
    body = {
        "success": True,
        "conversation_id": result.conversation_id,
        "help_request_id": help_request_id,
        "version": result.version,
        "message": result.message,
    }
    return replies.made(body, status=201, replayed=result.replayed)


@get(
    "/help-requests/{help_request_id:uuid}/conversations",
    responses=schemas.answers(schemas.ConversationPage, *schemas.ALWAYS, Code.NOT_FOUND),
)
async def list_offers(
    request: MemberRequest,
    help_request_id: FromPath[UUID],
    cursor: schemas.Cursor = None,
    limit: schemas.Limit = 20,
) -> Response[bytes]:
    """The offers on one of the caller's own requests, of both engines, by last activity."""
    return replies.passed_on(
        await _messaging(request).list_offers(request.user, help_request_id, cursor=cursor, limit=limit)
    )


@get("/conversations", responses=schemas.answers(schemas.ConversationPage, *schemas.ALWAYS))
async def list_conversations(
    request: MemberRequest,
    cursor: schemas.Cursor = None,
    limit: schemas.Limit = 20,
    filter_: Annotated[Literal["all", "unread", "archived"], QueryParameter(name="filter")] = "all",
    search: schemas.Search = None,
) -> Response[bytes]:
    """The caller's conversations of both engines, by last activity; all are those that are not archived.

    A search looks in names, titles and messages, under all in archived ones too. It looks through 1000 conversations
    at a time: a page may be short or empty, and its next_cursor looks further back.
    """
    return replies.passed_on(
        await _messaging(request).list_conversations(
            request.user, cursor=cursor, limit=limit, filter_=filter_, search=search
        )
    )


@get(
    "/conversations/{conversation_id:uuid}/messages",
    responses=schemas.answers(schemas.MessagePage, *schemas.ALWAYS, Code.NOT_FOUND),
)
async def get_messages(
    request: MemberRequest,
    conversation_id: FromPath[UUID],
    before: schemas.Place = None,
    after: schemas.Place = None,
    limit: schemas.LongLimit = 50,
) -> Response[bytes]:
    """A page of a thread by seq, oldest first: the newest, those before a seq, or those after one."""
    return replies.passed_on(
        await _messaging(request).get_messages(request.user, conversation_id, before=before, after=after, limit=limit)
    )


@post(
    "/conversations/{conversation_id:uuid}/messages",
    responses=schemas.answers(schemas.Sent, *schemas.ADDITIONS, Code.RATE_LIMITED, status=201),
)
async def send_message(
    request: MemberRequest, conversation_id: FromPath[UUID], data: JSONBody[NewMessage]
) -> Response[bytes]:
    """Write a message."""
    result = (await _messaging(request).send_message(request.user, conversation_id, data.content)).raised()
    body = {"success": True, "message_id": result.message_id, "seq": result.seq}
    return replies.made(body, status=201, replayed=result.replayed)


@post(
    "/conversations/{conversation_id:uuid}/read",
    status_code=200,
    responses=schemas.answers(schemas.Marked, *schemas.ADDITIONS),
)
async def mark_read(request: MemberRequest, conversation_id: FromPath[UUID], data: JSONBody[Mark]) -> Response[bytes]:
    """Mark a conversation as read up to a seq: never backwards, never past its end."""
    return replies.passed_on(await _messaging(request).mark_read(request.user, conversation_id, data.seq))


@post(
    "/conversations/{conversation_id:uuid}/close",
    status_code=200,
    responses=schemas.answers(schemas.Done, *schemas.WRITES),
)
async def close_conversation(request: MemberRequest, conversation_id: FromPath[UUID]) -> Response[bytes]:
    """Close an active conversation; both can still read it."""
    return replies.passed_on(await _messaging(request).close_conversation(request.user, conversation_id))


@post(
    "/conversations/{conversation_id:uuid}/reopen",
    status_code=200,
    responses=schemas.answers(schemas.Done, *schemas.WRITES),
)
async def reopen_conversation(request: MemberRequest, conversation_id: FromPath[UUID]) -> Response[bytes]:
    """Reopen a conversation that the caller declined or closed."""
    return replies.passed_on(await _messaging(request).reopen_conversation(request.user, conversation_id))


@post(
    "/conversations/{conversation_id:uuid}/mute",
    status_code=200,
    responses=schemas.answers(schemas.Muted, *schemas.ADDITIONS),
)
async def mute_conversation(
    request: MemberRequest, conversation_id: FromPath[UUID], data: JSONBody[Mute]
) -> Response[bytes]:
    """Mute a conversation until a moment: no letters about it. It still counts as unread. The other is not told."""
    return replies.passed_on(await _messaging(request).mute_conversation(request.user, conversation_id, data.until))


@post(
    "/conversations/{conversation_id:uuid}/archive",
    status_code=200,
    responses=schemas.answers(schemas.Archived, *schemas.ADDITIONS),
)
async def archive_conversation(
    request: MemberRequest, conversation_id: FromPath[UUID], data: JSONBody[Archive]
) -> Response[bytes]:
    """Put a conversation away, or back into the list. News in it bring it back. The other is not told."""
    return replies.passed_on(
        await _messaging(request).archive_conversation(request.user, conversation_id, archived=data.archived)
    )


@post("/reject-offer", status_code=200, responses=schemas.answers(schemas.Done, *schemas.WRITES))
async def reject_offer(request: MemberRequest, data: JSONBody[Decision]) -> Response[bytes]:
    """Decline an offer on one's own request, with an optional reason that the helper reads."""
    return replies.passed_on(await _messaging(request).decline_offer(request.user, data.conversation_id, data.reason))


@post("/accept-offer", status_code=200, responses=schemas.answers(schemas.HelpRequestMoved, *schemas.WRITES))
async def accept_offer(request: MemberRequest, data: JSONBody[Decision]) -> Response[bytes]:
    """Accept an offer on one's own request: assigns the helper, in place of another where there was one."""
    return await _decided(request, data, _messaging(request).accept_offer)


@post("/step-back", status_code=200, responses=schemas.answers(schemas.HelpRequestMoved, *schemas.WRITES))
async def step_back(request: MemberRequest, data: JSONBody[Decision]) -> Response[bytes]:
    """The accepted helper gives the request back; it is open again."""
    return await _decided(request, data, _messaging(request).step_back)


@post("/release-helper", status_code=200, responses=schemas.answers(schemas.HelpRequestMoved, *schemas.WRITES))
async def release_helper(request: MemberRequest, data: JSONBody[Decision]) -> Response[bytes]:
    """The owner releases the accepted helper; the request is open again."""
    return await _decided(request, data, _messaging(request).release_helper)


async def _decided(
    request: MemberRequest, data: Decision, verb: Callable[[Caller, UUID], Awaitable[Answer]]
) -> Response[bytes]:
    return replies.passed_on(await verb(request.user, data.conversation_id))


router = Router(
    "/api/messaging",
    guards=[security.member],
    before_request=check_query,
    tags=["messaging"],
    route_handlers=[
        start_conversation,
        list_offers,
        list_conversations,
        get_messages,
        send_message,
        mark_read,
        close_conversation,
        reopen_conversation,
        mute_conversation,
        archive_conversation,
        accept_offer,
        reject_offer,
        step_back,
        release_helper,
    ],
)
