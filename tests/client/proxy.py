"""Proxies that lose answers, or cut long ones somewhere: they pass TCP on and end connections."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

_PIECE = 65536
WAYS = ("in flight", "unanswered", "half answered")


@dataclass(slots=True)
class Cutter:
    """Decides what becomes of each answer. `share` of them are lost, in each of the three ways alike."""

    share: float
    draw: random.Random
    lost: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    passed: int = 0

    def next(self) -> str | None:
        """How the next answer is lost, or None."""
        if self.draw.random() >= self.share:
            self.passed += 1
            return None
        way = self.draw.choice(WAYS)
        self.lost[way] += 1
        return way


def cutting(port: int, cutter: Cutter) -> AbstractAsyncContextManager[int]:
    """Listens in front of a port of this machine; the port of its own."""
    return _listening(partial(_carry, port, cutter))


@dataclass(slots=True)
class Severer:
    """Ends each connection after so many bytes of its answer, drawn from `shortest` to `longest`."""

    shortest: int
    longest: int
    draw: random.Random
    cuts: int = 0


def severing(port: int, severer: Severer) -> AbstractAsyncContextManager[int]:
    """Listens in front of a port of this machine, for answers without an end; the port of its own."""
    return _listening(partial(_sever, port, severer))


@asynccontextmanager
async def _listening(
    carry: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await carry(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # asyncio's streams would log a cancelled task as a fault
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sever(port: int, severer: Severer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        inner_writer.write(await _message(reader))
        left = severer.draw.randint(severer.shortest, severer.longest)
        while left and (piece := await inner_reader.read(min(left, _PIECE))):
            left -= len(piece)
            writer.write(piece)
            await writer.drain()
        severer.cuts += not left
        writer.close()  # what was passed on arrives
        await writer.wait_closed()
    finally:
        inner_writer.close()


async def _carry(port: int, cutter: Cutter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while request := await _message(reader):
            way = cutter.next()
            inner_writer.write(request)
            await inner_writer.drain()
            if way == "in flight":
                inner_writer.close()
                return
            answer = await _message(inner_reader)
            if way == "unanswered":
                return
            writer.write(answer[: len(answer) // 2] if way else answer)
            await writer.drain()
            if way:
                writer.close()
                return
    finally:
        inner_writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A whole HTTP/1.1 message of a given length; nothing when the other side has hung up."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = await reader.readline()
        if not line:
            return b""
        head += line
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head
