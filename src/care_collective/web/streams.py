"""What a live stream is, whoever it is told to: one loop over what care.live answers, for programs and for pages.

What is sent is read from the tables each time, as the member who asked, who is looked up anew each time too: a stream
outlives neither a token nor a ban. How it is said is the rendering's; a rendering asks the database for nothing of a
thread's.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Collection
from typing import Annotated, Any, Final, Protocol, cast
from uuid import UUID

import msgspec
from litestar import Litestar, Request
from litestar.params import HeaderParameter
from litestar.response import Stream as StreamResponse
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

from care_collective.db.call import Caller
from care_collective.errors import CareError, Code
from care_collective.messaging.service import Messaging
from care_collective.notifications.live import Hub, Stream
from care_collective.web import security
from care_collective.web.api import schemas
from care_collective.web.body import refusal
from care_collective.web.doorkeeper import household

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
Changed = Collection[UUID] | None


class Found(msgspec.Struct, frozen=True):
    """What care.live answers. The JSON within is passed on as it comes."""

    last_seq: int | None
    messages: list[msgspec.Raw]
    has_more: bool
    unread: msgspec.Raw
    conversations: list[msgspec.Raw]


class Rendering(Protocol):
    """How a stream says what was found."""

    # The event that says that nothing happened.
    @property
    def alive(self) -> bytes: ...

    # What the first turn reads of the inbox: rows by their ids, or for None the newest 20.
    @property
    def first(self) -> Changed: ...

    async def prepare(self, found: Found, changed: Changed) -> None:
        """Called before the two below, each turn in which something is said."""

    def message(self, message: msgspec.Raw) -> tuple[int, bytes]:
        """A message's seq and the lines of its event."""

    def state(self, found: Found, changed: Changed) -> bytes:
        """The events that tell how things stand now."""


_decode = msgspec.json.Decoder(Found).decode


def read_place(last_event_id: str | None) -> int | None:
    """The seq that the header names. Errors: CareError `validation_error`."""
    if not last_event_id:
        return None
    digits = last_event_id.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and -1 <= int(last_event_id) <= schemas.LAST_SEQ:
        return int(last_event_id)
    raise refusal("Last-Event-ID", "This has to be the id of an event of this stream.")


async def answer(
    request: security.MemberRequest, rendering: Rendering, conversation_id: UUID | None, place: int | None
) -> StreamResponse:
    """A stream to the request's caller, of a conversation's messages after a place (None: from now on).

    Errors: CareError of the first reading: a refusal is an answer and no stream.
    """
    services = security.services(request)
    events = _Events(services.messaging, request.user, conversation_id, place, rendering)
    origin = household(security.client_address(request))
    # Registered first: what is committed after the first reading wakes it.
    woken = services.live.open(events.user_id, request.user.community_id, origin)
    try:
        first, has_more = await events.turn(None)
    except BaseException:
        services.live.close(woken)
        raise
    if request.scope["state"].get("only_head"):
        woken.end()
    return _Answer(woken, _told(events, services.live, woken, request, first, has_more))


class _Events:
    """What one stream tells, turn by turn."""

    def __init__(
        self,
        messaging: Messaging,
        caller: Caller,
        conversation_id: UUID | None,
        place: int | None,
        rendering: Rendering,
    ) -> None:
        assert caller.user_id is not None  # its route's
        self.user_id = caller.user_id
        self.alive = rendering.alive
        self._messaging = messaging
        self._caller = caller
        self._conversation_id = conversation_id
        self._place = place
        self._rendering = rendering
        self._unread: bytes | None = None

    async def turn(self, changed: Changed) -> tuple[bytes, bool]:
        """The events that are due, none maybe, and whether there are more already. Errors: CareError."""
        first = self._unread is None
        if first:
            changed = self._rendering.first
        answer = await self._messaging.live(
            self._caller, self._conversation_id, after=self._place, changed=None if changed is None else list(changed)
        )
        found = _decode(answer.success())
        pieces = [self._beginning(found)] if first else []
        moved = changed is None or bool(found.conversations) or bytes(found.unread) != self._unread
        if moved or found.messages:
            await self._rendering.prepare(found, changed)
        for message in found.messages:
            self._place, lines = self._rendering.message(message)
            pieces.append(b"id: %d\n%b\n" % (self._place, lines))
        if moved:
            self._unread = bytes(found.unread)
            pieces.append(self._rendering.state(found, None if first else changed))
        return b"".join(pieces), found.has_more

    def _beginning(self, found: Found) -> bytes:
        """How soon to come back, and the id from which to go on where it ends before the first message."""
        retry = b"retry: %d\n\n" % random.randint(*_RETRY)  # noqa: S311  jitter is no secret
        if found.last_seq is None:
            return retry
        # Without a place from now on; from now on too after a place that nobody has written yet.
        self._place = found.last_seq if self._place is None else min(self._place, found.last_seq)
        return b"%bid: %d\n\n" % (retry, self._place)


async def _told(
    events: _Events, hub: Hub, woken: Stream, request: security.MemberRequest, piece: bytes, has_more: bool
) -> AsyncGenerator[bytes, None]:
    """The events of a stream from its first piece until it ends."""
    try:
        while True:
            yield piece or events.alive
            del piece  # thousands of streams wait with what they hold
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
    finally:
        hub.close(woken)


class _Answer(StreamResponse):
    """The framework's streamed answer, sent by `_Sending`."""

    def __init__(self, woken: Stream, pieces: AsyncGenerator[bytes, None]) -> None:
        super().__init__(pieces, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._woken = woken

    def to_asgi_response(
        self,
        app: Litestar | None,
        request: Request[Any, Any, Any],
        *,
        headers: dict[str, str] | None = None,
        **given: Any,  # noqa: ANN401  the framework's own
    ) -> ASGIResponse:
        """Called by the framework."""
        return _Sending(
            self._woken,
            iterator=self.iterator,
            media_type=self.media_type,
            headers={**(headers or {}), **self.headers},
            is_head_response=given.get("is_head_response", False),
        )


class _Sending(ASGIStreamingResponse):
    """Sends piece by piece, and ends the stream when its reader has gone.

    The framework's own takes two tasks and a group of them for that, and keeps the last piece: a fifth of what an open
    stream holds.
    """

    __slots__ = ("_woken",)

    def __init__(self, woken: Stream, **given: Any) -> None:  # noqa: ANN401  the framework's own
        super().__init__(**given)
        self._woken = woken

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Called by the framework once the head is sent."""
        listening = asyncio.create_task(self._until_gone(receive))
        try:
            async for piece in self.iterator:
                await send({"type": "http.response.body", "body": cast(bytes, piece), "more_body": True})
                del piece
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            listening.cancel()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._woken.end()
