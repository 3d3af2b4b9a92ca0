"""The one LISTEN connection of a process: heard again after every loss, and everybody told to read anew."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import asyncpg
import pytest

from care_collective.db.listen import Listener
from harness import Care

_SECONDS = 30


@dataclass(slots=True)
class Ear:
    """A subscriber that keeps what it hears. `rereads` counts how often it was told to read again."""

    heard: list[str] = field(default_factory=list)
    rereads: int = 0
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, payload: str) -> None:
        """A notification."""
        self.heard.append(payload)
        self.stirred.set()

    def reread(self) -> None:
        """Something may have been missed."""
        self.rereads += 1
        self.stirred.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition on what was heard."""
        async with asyncio.timeout(_SECONDS):
            while not condition():
                self.stirred.clear()
                await self.stirred.wait()


@asynccontextmanager
async def listening(care: Care, *, probe_seconds: float = 10) -> AsyncIterator[tuple[Listener, str]]:
    """A listener that runs, and the name by which its connection is known to the server."""
    name = f"listener-{uuid4().hex[:8]}"
    listener = Listener(
        care.server.dsn(user="care_app", database=care.name), application_name=name, probe_seconds=probe_seconds
    )
    task = asyncio.create_task(listener.run())
    try:
        yield listener, name
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def notify(care: Care, channel: str, payload: str) -> None:
    """What another transaction says."""
    await care.owner.execute("select pg_notify($1, $2)", channel, payload)


async def kill(care: Care, name: str) -> int:
    """Ends the listener's connection from the server's side; how many there were."""
    gone = await care.owner.fetch(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = $1", name
    )
    return len(gone)


async def test_every_channel_is_heard_and_only_by_those_who_asked(shared: Care) -> None:
    one, two, other = Ear(), Ear(), Ear()
    async with listening(shared) as (listener, name):
        listener.subscribe("Mixed Case", one.hear, reread=one.reread)
        end = listener.subscribe("Mixed Case", two.hear, reread=two.reread)
        await one.until(lambda: one.rereads > 0)
        await two.until(lambda: two.rereads > 0)
        listener.subscribe("later", other.hear, reread=other.reread)  # while it is connected
        await other.until(lambda: other.rereads > 0)
        assert listener.connected
        await notify(shared, "Mixed Case", "a")
        await one.until(lambda: one.heard == ["a"])
        await two.until(lambda: two.heard == ["a"])
        end()
        end()
        await notify(shared, "Mixed Case", "b")
        await notify(shared, "later", "c")
        await one.until(lambda: one.heard == ["a", "b"])
        await other.until(lambda: other.heard == ["c"])
        assert two.heard == ["a"]
        running = await shared.owner.fetchval("select count(*) from pg_stat_activity where application_name = $1", name)
        assert running == 1
    assert not listener.connected


async def test_a_listener_whose_connection_is_killed_hears_again_and_tells_everybody_to_read(shared: Care) -> None:
    one, other = Ear(), Ear()
    async with listening(shared) as (listener, name):
        listener.subscribe("care_one", one.hear, reread=one.reread)
        listener.subscribe("care_other", other.hear, reread=other.reread)
        await one.until(lambda: one.rereads == 1)
        await other.until(lambda: other.rereads == 1)
        for cut in range(1, 4):
            assert await kill(shared, name) == 1
            await notify(shared, "care_one", f"lost {cut}")
            await one.until(lambda cut=cut: one.rereads == cut + 1)  # type: ignore[misc]
            await other.until(lambda cut=cut: other.rereads == cut + 1)  # type: ignore[misc]
            assert listener.connected
            await notify(shared, "care_one", f"heard {cut}")
            await one.until(lambda cut=cut: one.heard[-1:] == [f"heard {cut}"])  # type: ignore[misc]
        assert other.heard == []


async def test_a_connection_without_an_answer_is_given_up(shared: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    async with listening(shared, probe_seconds=0.01) as (listener, _):
        listener.subscribe("care_silent", ear.hear, reread=ear.reread)
        await ear.until(lambda: ear.rereads == 1)
        with monkeypatch.context() as broken:
            broken.setattr("care_collective.db.listen._CONNECT_SECONDS", 0)  # no answer comes in no time
            async with asyncio.timeout(_SECONDS):
                while listener.connected:  # noqa: ASYNC110  a property has no event
                    await asyncio.sleep(0)
        await ear.until(lambda: ear.rereads == 2)
        await notify(shared, "care_silent", "back")
        await ear.until(lambda: ear.heard == ["back"])


async def test_a_driver_that_loses_its_count_is_one_more_loss(shared: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, faults = asyncpg.connect, [asyncpg.InternalClientError("unexpected message")]

    async def faulty(*arguments: object, **options: object) -> asyncpg.Connection:
        if faults:
            raise faults.pop()
        return await connect(*arguments, **options)

    monkeypatch.setattr("care_collective.db.listen.asyncpg.connect", faulty)
    ear = Ear()
    async with listening(shared) as (listener, _):
        listener.subscribe("care_lost", ear.hear, reread=ear.reread)
        await ear.until(lambda: ear.rereads == 1)
    assert not faults


async def test_one_subscribers_fault_makes_nobody_else_deaf(shared: Care) -> None:
    def fails(*_: str) -> None:
        raise RuntimeError

    ear = Ear()
    async with listening(shared) as (listener, _):
        listener.subscribe("care_fault", fails, reread=fails)
        listener.subscribe("care_fault", ear.hear, reread=ear.reread)
        await ear.until(lambda: ear.rereads > 0)
        await notify(shared, "care_fault", "one")
        await notify(shared, "care_fault", "two")
        await ear.until(lambda: ear.heard == ["one", "two"])


async def test_a_server_that_is_not_there_is_tried_until_it_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    listener = Listener(f"postgresql://care_app@/care?host={tmp_path_factory.mktemp('nobody')}")
    task = asyncio.create_task(listener.run())
    await asyncio.sleep(0.05)
    assert not listener.connected
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
