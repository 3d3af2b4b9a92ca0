"""What tests of live streams stand on: a reader of server-sent events, strict about their form."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

_SECONDS = 30  # on a machine that does other things, too


@dataclass(slots=True)
class Feed:
    """The events of one open stream, read in the background."""

    answer: httpx.Response
    messages: list[dict[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    comments: int = 0
    retry: int | None = None
    ended: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def seqs(self) -> list[int]:
        """The messages' places, as they came."""
        return [message["seq"] for message in self.messages]

    @property
    def unread(self) -> dict[str, int]:
        """What the last state said is unread."""
        found: dict[str, int] = self.states[-1]["unread"]
        return found

    async def until(self, condition: Any) -> None:  # noqa: ANN401  a predicate without arguments
        """Waits for a condition on what came."""
        async with asyncio.timeout(_SECONDS):
            while not condition():
                self.stirred.clear()
                await self.stirred.wait()

    async def read(self) -> None:
        """Reads to the end."""
        block: list[str] = []
        try:
            async for line in self.answer.aiter_lines():
                if line:
                    block.append(line)
                else:
                    self._take(block)
                    block = []
                    self.stirred.set()
            assert not block
        finally:
            self.ended = True
            self.stirred.set()

    def _take(self, block: list[str]) -> None:
        if block == [":"]:
            self.comments += 1
            return
        fields = dict(line.split(": ", 1) for line in block)
        assert len(fields) == len(block), block
        if "retry" in fields:
            self.retry = int(fields.pop("retry"))
        if "id" in fields:
            self.ids.append(int(fields["id"]))
        if "data" in fields:
            data = json.loads(fields["data"])
            if fields.get("event") == "state":
                assert set(fields) == {"event", "data"}
                self.states.append(data)
            else:
                assert set(fields) == {"id", "data"}
                assert data["seq"] == int(fields["id"])
                self.messages.append(data)


@asynccontextmanager
async def feeding(client: httpx.AsyncClient, path: str, **options: Any) -> AsyncIterator[Feed]:  # noqa: ANN401
    """Opens a stream, which has to succeed and to have told its state; closed with the block."""
    async with client.stream("GET", path, **options) as answer:
        if answer.status_code != 200:
            raise AssertionError((await answer.aread()).decode())
        assert answer.headers["content-type"].startswith("text/event-stream")
        feed = Feed(answer)
        task = asyncio.create_task(feed.read())
        try:
            await feed.until(lambda: feed.states)
            yield feed
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
