"""The live stream (SSE) of programs: a conversation's messages by seq, none missed and none twice, and the inbox's
present state. The loop is web/streams.py's."""

from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery
from litestar.response import Stream as StreamResponse

from care_collective.errors import Code
from care_collective.web import security, streams
from care_collective.web.api import schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class _Place(msgspec.Struct, frozen=True):
    seq: int


_decode_place = msgspec.json.Decoder(_Place).decode


@get(
    "/stream",
    media_type="text/event-stream",
    responses={
        **schemas.answers(schemas.LiveState, *schemas.ALWAYS, Code.NOT_FOUND, Code.RATE_LIMITED),
        200: ResponseSpec(
            cast(Any, schemas.Message | schemas.LiveState),
            description="The data of an event: a message, or under `event: state` what is unread and inbox rows",
            generate_examples=False,
            media_type="text/event-stream",
        ),
    },
)
async def stream(
    request: MemberRequest,
    conversation: FromQuery[UUID | None] = None,
    after: schemas.Place = None,
    last_event_id: streams.LastEventId = None,
) -> StreamResponse:
    """What happens, as server-sent events, from now on.

    With a conversation: its messages after the seq that `Last-Event-ID`, or else `after`, names, in order and each
    once, with the seq as `id`; without either, from now on. In every stream `event: state`, without an id, tells what
    is unread, and the inbox rows that changed; the first one brings the conversation's row, else the newest 20.
    """
    named = streams.read_place(last_event_id)
    rendering = _Json(None if conversation is None else [conversation])
    return await streams.answer(request, rendering, conversation, after if named is None else named)


class _Json:
    """Passes the tables' own JSON on."""

    alive = b":\n\n"

    def __init__(self, first: streams.Changed) -> None:
        self.first = first

    async def prepare(self, found: streams.Found, changed: streams.Changed) -> None:
        """Nothing is needed."""

    def message(self, message: msgspec.Raw) -> tuple[int, bytes]:
        """A message as get_messages shows it."""
        return _decode_place(message).seq, b"data: %b\n" % bytes(message)

    def state(self, found: streams.Found, _: streams.Changed) -> bytes:
        """What is unread, and the rows that changed."""
        rows = b",".join(bytes(row) for row in found.conversations)
        return b'event: state\ndata: {"unread":%b,"conversations":[%b]}\n\n' % (bytes(found.unread), rows)


router = Router(
    "/api/messaging",
    guards=[security.member],
    before_request=check_query,
    tags=["messaging"],
    route_handlers=[stream],
)
