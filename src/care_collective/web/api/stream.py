"""The live stream (SSE): a conversation's messages by seq, none missed and none twice, and the inbox's present state.

What is sent is read from the tables each time, as the member who asked, who is looked up anew each time too: a stream
outlives neither a token nor a ban.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Collection
from typing import Annotated, Any, Final, cast
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, HeaderParameter
from litestar.response import Stream as StreamResponse

from care_collective.db.call import Caller
from care_collective.errors import CareError, Code
from care_collective.messaging.service import Messaging
from care_collective.notifications.live import Hub, Stream
from care_collective.web import security
from care_collective.web.api import schemas
from care_collective.web.body import check_query, refusal
from care_collective.web.doorkeeper import household
from care_collective.web.security import MemberRequest

# Seconds between two signs of life. At each the tables are read too: whatever was not told is found then.
KEEP_ALIVE_SECONDS: Final = 20.0
# When a stream ends, browsers come back after this many milliseconds: not all of a restarted server's at once.
_RETRY: Final = (1000, 3000)
# Seconds before a database that was away is asked again.
_PAUSE: Final = (1.0, 3.0)

LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="The id of the last event received; stands over `after`"),
]


class _Found(msgspec.Struct, frozen=True):
    """What care.live answers. The JSON within is passed on as it comes."""

    last_seq: int | None
    messages: list[msgspec.Raw]
    has_more: bool
    unread: msgspec.Raw
    conversations: list[msgspec.Raw]


class _Place(msgspec.Struct, frozen=True):
    seq: int


_decode = msgspec.json.Decoder(_Found).decode
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
    last_event_id: LastEventId = None,
) -> StreamResponse:
    """What happens, as server-sent events, from now on.

    With a conversation: its messages after the seq that `Last-Event-ID`, or else `after`, names, in order and each
    once, with the seq as `id`; without either, from now on. In every stream `event: state`, without an id, tells what
    is unread, and the inbox rows that changed; the first one brings the conversation's row, else the newest 20.
    """
    named = _read(last_event_id)
    services = security.services(request)
    events = _Events(services.messaging, request.user, conversation, after if named is None else named)
    origin = household(security.client_address(request))
    # Registered first: what is committed after the first reading wakes it.
    woken = services.live.open(events.user_id, request.user.community_id, origin)
    told = _told(events, services.live, woken, request)
    first = await anext(told)  # a refusal is an answer and no stream
    if request.scope["state"].get("only_head"):
        await told.aclose()
    return StreamResponse(_joined(first, told), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _read(last_event_id: str | None) -> int | None:
    """The seq that the header names. Errors: CareError `validation_error`."""
    if not last_event_id:
        return None
    digits = last_event_id.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and -1 <= int(last_event_id) <= schemas.LAST_SEQ:
        return int(last_event_id)
    raise refusal("Last-Event-ID", "This has to be the id of an event of this stream.")


class _Events:
    """What one stream tells, turn by turn."""

    def __init__(self, messaging: Messaging, caller: Caller, conversation_id: UUID | None, place: int | None) -> None:
        assert caller.user_id is not None  # the guard's
        self.user_id = caller.user_id
        self._messaging = messaging
        self._caller = caller
        self._conversation_id = conversation_id
        self._place = place
        self._unread: bytes | None = None

    async def turn(self, changed: Collection[UUID] | None) -> tuple[bytes, bool]:
        """The events that are due, none maybe, and whether there are more already. Errors: CareError."""
        first = self._unread is None
        if first and self._conversation_id is not None:
            changed = [self._conversation_id]
        answer = await self._messaging.live(
            self._caller, self._conversation_id, after=self._place, changed=None if changed is None else list(changed)
        )
        found = _decode(answer.success())
        pieces = [self._beginning(found)] if first else []
        for message in found.messages:
            self._place = _decode_place(message).seq
            pieces.append(b"id: %d\ndata: %b\n\n" % (self._place, bytes(message)))
        if changed is None or found.conversations or bytes(found.unread) != self._unread:
            self._unread = bytes(found.unread)
            rows = b",".join(bytes(row) for row in found.conversations)
            pieces.append(b'event: state\ndata: {"unread":%b,"conversations":[%b]}\n\n' % (self._unread, rows))
        return b"".join(pieces), found.has_more

    def _beginning(self, found: _Found) -> bytes:
        """How soon to come back, and the id from which to go on where it ends before the first message."""
        retry = b"retry: %d\n\n" % random.randint(*_RETRY)  # noqa: S311  jitter is no secret
        if found.last_seq is None:
            return retry
        # Without a place from now on; from now on too after a place that nobody has written yet.
        self._place = found.last_seq if self._place is None else min(self._place, found.last_seq)
        return b"%bid: %d\n\n" % (retry, self._place)


async def _told(events: _Events, hub: Hub, woken: Stream, request: MemberRequest) -> AsyncGenerator[bytes, None]:
    """The events of a stream until it ends. Errors of the first turn: CareError."""
    try:
        piece, has_more = await events.turn(None)
        yield piece
        while True:
            del piece
            changed = frozenset[UUID]() if has_more else await woken.wait(KEEP_ALIVE_SECONDS)
            if woken.ended:
                return
            try:
                # Who asks is asked each time: tokens and sessions end, members are banned and leave.
                caller = await security.identify(request)
                if caller.user_id != events.user_id:
                    return
                piece, has_more = await events.turn(changed)
            except CareError as error:
                if error.code is not Code.UNAVAILABLE:
                    return
                # Told at the next sign of life, and before that when the listener is back.
                piece, has_more = b"", False
                woken.wake(None)
                await asyncio.sleep(random.uniform(*_PAUSE))  # noqa: S311
            yield piece or b":\n\n"
    finally:
        hub.close(woken)


async def _joined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    del first  # thousands of streams wait with what they hold
    async for piece in rest:
        yield piece
        del piece


router = Router(
    "/api/messaging",
    guards=[security.member],
    before_request=check_query,
    tags=["messaging"],
    route_handlers=[stream],
)
