"""The live streams of one process: which are open, and which a hint wakes.

A stream is never handed what changed: it is woken and reads the tables. So a slow reader holds back nothing, and what
it was not told in time it reads later.
"""

import asyncio
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec
import structlog

from care_collective.db.listen import Listener
from care_collective.errors import CareError, Code

log = structlog.get_logger("care_collective.notifications")

CHANNEL: Final = "care_hints"
# A browser on each of somebody's devices with some pages open. Past it their oldest stream ends: one more is often
# the same page come back over another network, while the stream that it lost is not known to be dead yet.
MOST_PER_MEMBER: Final = 12
# A library or a family behind one address.
MOST_PER_ORIGIN: Final = 200
# A stream that is this far behind reads everything anew.
MOST_PENDING: Final = 50
# Seconds from one reading to the next. What happens alone is told at once, of what comes faster nobody sees more.
GATHER_SECONDS: Final = 0.05


class _Hint(msgspec.Struct, frozen=True, array_like=True):
    """What care.hints writes."""

    community_id: UUID
    conversation_id: UUID
    seq: int | None
    requester_id: UUID | None  # None where the conversation is held: to the requester it does not exist
    helper_id: UUID


_decode = msgspec.json.Decoder(list[_Hint]).decode


class Stream:
    """One open stream of a member: what it has been woken for and has not read yet. Made by `Hub.open`.

    One task waits for it.
    """

    __slots__ = ("_changed", "_next", "_stirred", "_waiter", "community_id", "ended", "origin", "user_id")

    def __init__(self, user_id: UUID, community_id: UUID | None, origin: str | None) -> None:
        self.user_id = user_id
        self.community_id = community_id
        self.origin = origin
        self.ended = False
        self._changed: set[UUID] | None = set()
        self._next = 0.0
        # No asyncio.Event: one holds three quarters of a kilobyte, and thousands of streams wait.
        self._stirred = False
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self, seconds: float) -> frozenset[UUID] | None:
        """The conversations that changed since the last time, none after so many quiet seconds; None: read all anew.

        What comes within GATHER_SECONDS of the last time is told together. Returns at once when the stream has `ended`.
        """
        loop = asyncio.get_running_loop()
        await self._until_stirred(loop, seconds)
        while not self.ended and (early := self._next - loop.time()) > 0:
            self._stirred = False
            await self._until_stirred(loop, early)
        self._next = loop.time() + GATHER_SECONDS
        self._stirred = False
        changed, self._changed = self._changed, set()
        return None if changed is None else frozenset(changed)

    async def _until_stirred(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        if self._stirred or self.ended:
            return
        self._waiter = loop.create_future()
        limit = loop.call_later(seconds, self._stir)
        try:
            await self._waiter
        finally:
            limit.cancel()
            self._waiter = None

    def _stir(self) -> None:
        self._stirred = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def wake(self, conversation_id: UUID | None) -> None:
        """Says that a conversation changed, or for None that anything may have."""
        if self._changed is not None:
            if conversation_id is None or len(self._changed) >= MOST_PENDING:
                self._changed = None
            else:
                self._changed.add(conversation_id)
        self._stir()

    def end(self) -> None:
        """Lets it end."""
        self.ended = True
        self._stir()


class Hub:
    """Wakes the streams that a hint concerns, and all of them when hints may have been missed."""

    def __init__(
        self, listener: Listener, *, per_member: int = MOST_PER_MEMBER, per_origin: int = MOST_PER_ORIGIN
    ) -> None:
        self._per_member = per_member
        self._per_origin = per_origin
        self._streams: dict[UUID, list[Stream]] = {}
        self._origins: dict[str, int] = {}
        self._ended = False
        listener.subscribe(CHANNEL, self.heard, reread=self.reread)

    def __len__(self) -> int:
        return sum(1 for _ in self.streams())

    def open(self, user_id: UUID, community_id: UUID | None, origin: str | None) -> Stream:
        """A stream of a member, to be closed. `origin` is where it leads, None where that is not counted.

        A member's oldest ends when they have too many. Errors: CareError `rate_limited` for an origin's.
        """
        if origin is not None and self._origins.get(origin, 0) >= self._per_origin:
            raise CareError(Code.RATE_LIMITED, retry_after=30)
        stream = Stream(user_id, community_id, origin)
        mine = self._streams.setdefault(user_id, [])
        mine.append(stream)
        if origin is not None:
            self._origins[origin] = self._origins.get(origin, 0) + 1
        living = [one for one in mine if not one.ended]
        for oldest in living[: -self._per_member]:
            oldest.end()
        if self._ended:
            stream.end()
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream; once is enough."""
        mine = self._streams.get(stream.user_id, [])
        if stream not in mine:
            return
        mine.remove(stream)
        if not mine:
            del self._streams[stream.user_id]
        if stream.origin is not None:
            self._origins[stream.origin] -= 1
            if self._origins[stream.origin] == 0:
                del self._origins[stream.origin]

    def heard(self, payload: str) -> None:
        """A notification of care_hints."""
        try:
            hints = _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            # Another release's, or none of ours: whatever it says, reading anew is right. What is nested too deep is no
            # error of the decoder's, and one that passed here would end whoever listens.
            log.warning("notifications.hint_unreadable")
            self.reread()
            return
        for hint in hints:
            for user_id in filter(None, (hint.requester_id, hint.helper_id)):
                for stream in self._streams.get(user_id, ()):
                    if stream.community_id in (None, hint.community_id):
                        stream.wake(hint.conversation_id)

    def reread(self) -> None:
        """Lets every stream read all anew: hints may have been missed."""
        for stream in self.streams():
            stream.wake(None)

    def end(self) -> None:
        """Lets every stream end, and those that are opened from here on after their first words. For a shutdown."""
        self._ended = True
        for stream in self.streams():
            stream.end()

    def streams(self) -> Iterator[Stream]:
        """The open streams, those too that are about to end."""
        return (stream for mine in list(self._streams.values()) for stream in list(mine))
