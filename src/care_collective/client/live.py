"""A live stream that goes on where it was cut: reads server-sent events and comes back by itself."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final

import msgspec

from care_collective.client.errors import CareClientError, ConnectionFailed, Unauthenticated, UnreadableAnswer
from care_collective.client.problem import Problem
from care_collective.client.retries import Retries
from care_collective.client.session import Session
from care_collective.client.wire import Shape, Wire

# Seconds before coming back to a server that ended a stream in good order and named no time of its own.
_RETRY: Final = 2.0
_LONGEST_PAUSE: Final = 30.0


class Event(msgspec.Struct, frozen=True):
    """One event: `name` is '' for a message, `data` its JSON, '' where the event only moves the place."""

    name: str
    data: bytes
    seq: int | None


async def follow(
    wire: Wire, session: Session, retries: Retries, path: str, params: Mapping[str, str], place: int | None
) -> AsyncGenerator[Event, None]:
    """The events of a stream, for ever. `place` is the seq after which it begins, None: from now on.

    Whatever breaks is opened again after the last id: none is missed, none comes twice. Until the first event as often
    as `retries` allow; from then on as long as the caller goes on reading. Errors: CareClientError for what another
    try will not mend.
    """
    failures, began, renewed = 0, False, False
    while True:
        caller = await session.identity()
        resume = {} if place is None else {"Last-Event-ID": str(place)}
        pause = _RETRY
        try:
            async with wire.opened(path, headers={**caller.headers(), **resume}, params=params) as pieces:
                async for block in _blocks(pieces):
                    failures, began, renewed = 0, True, False
                    event = _event(block)
                    pause = _retry(block, pause)
                    if event.seq is not None:
                        if event.data and place is not None and event.seq <= place:
                            continue
                        place = event.seq
                    if event.data:
                        yield event
        except Unauthenticated:
            if renewed or not await session.renew(caller):
                raise
            renewed = True
            continue
        except CareClientError as error:
            failures += 1
            due = _again(error, failures, retries) if began else retries.pause(error, failures)
            if due is None:
                raise
            pause = due
        await retries.sleep(pause)


def read_event(data: bytes, shape: type[Shape]) -> Shape:
    """An event's data. Errors: UnreadableAnswer."""
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswer(Problem(words="An event of the stream is not one of this API's.")) from error


def _again(error: CareClientError, failures: int, retries: Retries) -> float | None:
    """Seconds until a stream that was open before is opened again; None for what time does not mend."""
    if isinstance(error, ConnectionFailed) or error.status in {429, 503}:
        return retries.drawn(failures) + min(float(error.problem.retry_after or 0), _LONGEST_PAUSE)
    return None


async def _blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The lines of each event. What was cut before its end is none.

    Split at line feeds alone: words may hold other ends of lines, which a text's own splitting would take for them.
    """
    rest, block = b"", list[bytes]()
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.rstrip(b"\r"):
                block.append(line.rstrip(b"\r"))
            elif block:
                yield block
                block = []


def _fields(block: list[bytes]) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in block)
    return {name: value.removeprefix(b" ") for name, _, value in pairs if name}


def _event(block: list[bytes]) -> Event:
    fields = _fields(block)
    seq = fields.get(b"id", b"")
    is_seq = seq.removeprefix(b"-").isdigit()
    return Event(fields.get(b"event", b"").decode(), fields.get(b"data", b""), int(seq) if is_seq else None)


def _retry(block: list[bytes], present: float) -> float:
    value = _fields(block).get(b"retry", b"")
    return min(int(value) / 1000, _LONGEST_PAUSE) if value.isdigit() and len(value) < 10 else present
