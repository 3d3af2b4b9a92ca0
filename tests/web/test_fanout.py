"""Hints by way of a Redis, on two nodes and a real redis-server: killed, started again, refusing."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis.asyncio
from structlog.testing import capture_logs

from care_collective.errors import CareError, Code, SettingsError
from care_collective.notifications.fanout import Fanout
from care_collective.notifications.relay import Relay
from database.test_hints import hearing
from harness import Care, Person, Town, free_port
from live_harness import feeding
from web_harness import bearer, of, services_for, serving

SECRET = "beets and leeks"
PROGRAM = Path("/usr/bin/redis-server")


@dataclass(slots=True)
class Redis:
    """A redis-server of this module's on loopback, with a password, in plain and over TLS."""

    folder: Path
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return f"redis://:{SECRET.replace(' ', '%20')}@127.0.0.1:{self.port}/3"

    @property
    def safe_url(self) -> str:
        """The same over TLS."""
        return self.url.replace("redis:", "rediss:").replace(f":{self.port}/", f":{self.tls_port}/")

    def start(self) -> None:
        """Starts it; whoever connects too early has to come again."""
        given = {"bind": "127.0.0.1", "port": self.port, "tls-port": self.tls_port, "requirepass": SECRET, "save": ""}
        files = {"dir": self.folder, "tls-cert-file": self.certificate, "tls-key-file": self.folder / "key.pem"}
        named: dict[str, object] = {**given, **files, "tls-auth-clients": "no"}
        options = [part for name, value in named.items() for part in (f"--{name}", str(value))]
        self.process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its power."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    @property
    def certificate(self) -> Path:
        """Its own certificate, which is also who vouches for it."""
        return self.folder / "certificate.pem"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A running one."""
    if not PROGRAM.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{PROGRAM} is missing, and CI tests on it (Debian: redis-server)")
        pytest.skip(f"{PROGRAM} is not installed here (Debian: apt install redis-server); CI runs this")
    assert shutil.which("openssl"), "openssl makes the certificate"
    made = Redis(tmp_path_factory.mktemp("redis"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made.folder / "key.pem",
         "-out", made.certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    made.start()
    yield made
    made.kill()


async def until(condition: Any) -> None:  # noqa: ANN401  a predicate without arguments
    """Waits for what has no event."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def node(care: Care, url: str) -> AsyncIterator[tuple[int, Fanout]]:
    """A served node that hears by the Redis: its port and its fan-out."""
    services = services_for(care, redis_url=url)
    assert services.fanout is not None
    async with serving(services) as port:
        yield port, services.fanout


def client(port: int, person: Person) -> httpx.AsyncClient:
    """A member's client of a node."""
    headers = {"Host": person.town.host, **bearer(person)}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers)


@asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[Fanout]:
    """A fan-out that runs; connected, where it can be."""
    fanout = Fanout(url, probe_seconds=0.05)
    task = asyncio.create_task(fanout.run())
    try:
        yield fanout
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_streams_of_another_node_are_woken_by_redis_and_miss_nothing_while_it_is_killed(
    shared: Care, town: Town, redis_server: Redis
) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    conversation = UUID((await helper.offer_v2(await town.request(owner)))["conversation_id"])
    async with AsyncExitStack() as stack:
        port, here = await stack.enter_async_context(node(shared, redis_server.url))
        far, there = await stack.enter_async_context(node(shared, redis_server.url))
        await until(lambda: here.connected and there.connected)
        writes = await stack.enter_async_context(client(port, helper))
        reads = await stack.enter_async_context(client(far, owner))
        path = f"/api/messaging/stream?conversation={conversation}"
        feed = await stack.enter_async_context(feeding(reads, path))
        notified = await stack.enter_async_context(hearing(shared))

        async def say(number: int) -> None:
            answer = await writes.post(of(conversation), json={"content": f"Line {number}"})
            assert answer.status_code == 201, answer.text

        async def seen(number: int) -> None:
            await feed.until(lambda: feed.seqs == list(range(1, number + 1)))

        number = 0

        async def by_redis() -> None:
            nonlocal number
            for _ in range(10):  # what a relay had begun to tell before it was connected is told by NOTIFY
                told = len(notified)
                await say(number := number + 1)
                await seen(number)
                if len(notified) == told:
                    return
            raise AssertionError("everything was told by NOTIFY")

        await by_redis()
        for _ in range(3):
            told = len(notified)
            redis_server.kill()
            await say(number := number + 1)
            await seen(number)
            await until(lambda told=told: len(notified) > told)  # without a Redis it is told by NOTIFY
            redis_server.start()
            for _ in range(5):
                await say(number := number + 1)
            await seen(number)
            await until(lambda: here.connected and there.connected)
        await by_redis()


async def test_what_was_told_and_not_marked_is_told_again(
    scratch: Care, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = await scratch.town()
    owner, helper = await town.member("Olga"), await town.member("Hal")
    await helper.offer_v2(await town.request(owner))
    heard: list[str] = []
    async with subscribed(redis_server.url) as fanout:
        fanout.subscribe(heard.append, reread=lambda: None)
        await until(lambda: fanout.connected)
        relay, value = Relay(scratch.database, fanout), type(scratch.database).value

        async def dies(self: Any, function: str, *given: Any, **named: Any) -> Any:  # noqa: ANN401
            if function == "care.mark_told":
                raise CareError(Code.UNAVAILABLE)
            return await value(self, function, *given, **named)

        with monkeypatch.context() as broken:
            broken.setattr(type(scratch.database), "value", dies)
            with pytest.raises(CareError):
                await relay._batch()
        await until(lambda: len(heard) == 1)
        assert await town.count("care.outbox", "published_at is null") == 1
        assert [await relay._batch(), await relay._batch()] == [1, 0]
        await until(lambda: len(heard) == 2)
        assert heard[0] == heard[1]
        assert await town.count("care.outbox", "published_at is null") == 0


@pytest.mark.parametrize("given", ["wrong%20one", ""])
async def test_a_password_that_is_not_right_is_said_and_nothing_waits_for_it(
    redis_server: Redis, shared: Care, given: str
) -> None:
    url = f"redis://:{given}@127.0.0.1:{redis_server.port}" if given else f"redis://127.0.0.1:{redis_server.port}"
    with pytest.raises(SettingsError, match="CARE_REDIS_URL: this Redis refuses the user name or the password"):
        await Fanout(url).prove()
    with capture_logs() as logged:
        async with subscribed(url) as fanout:
            await until(lambda: logged)
            assert not fanout.connected
            assert not await fanout.publish(["[]"])
    assert {(line["log_level"], line["event"]) for line in logged} == {("error", "notifications.redis_refused")}
    assert "wrong" not in str(logged) + repr(fanout) + repr(services_for(shared, redis_url=url).settings)


async def test_a_redis_that_is_away_stops_no_start_and_is_found_when_it_is_there(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(redis_server.certificate))
    with capture_logs() as logged:
        await Fanout(f"redis://127.0.0.1:{free_port()}").prove()
    assert [line["event"] for line in logged] == ["notifications.redis_away"]
    heard: list[str] = []
    rereads: list[None] = []
    async with subscribed(redis_server.safe_url) as fanout:
        fanout.subscribe(heard.append, reread=lambda: rereads.append(None))
        await until(lambda: fanout.connected and rereads)
        assert await fanout.publish(["one", "two"])
        await until(lambda: heard == ["one", "two"])
    other = redis.asyncio.Redis.from_url(redis_server.url)
    assert await other.pubsub_numsub("care_hints:3") == [(b"care_hints:3", 0)]
    await other.aclose()


async def test_a_redis_that_does_not_answer_is_given_up_until_it_does(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("care_collective.notifications.fanout._ANSWER_SECONDS", 0.2)
    rereads: list[None] = []
    async with subscribed(redis_server.url) as fanout:
        fanout.subscribe(lambda _: None, reread=lambda: rereads.append(None))
        await until(lambda: fanout.connected)
        assert redis_server.process is not None
        redis_server.process.send_signal(signal.SIGSTOP)
        try:
            assert not await fanout.publish(["one"])
            assert not fanout.connected
        finally:
            redis_server.process.send_signal(signal.SIGCONT)
        await until(lambda: fanout.connected)
