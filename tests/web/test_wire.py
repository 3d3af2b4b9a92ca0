"""What only a real socket can say: bodies without a length, requests that are no HTTP, callers who hang up."""

import asyncio

import pytest
from structlog.testing import capture_logs

from care_collective.web import server
from care_collective.web.services import Services
from harness import Town
from web.calls import Stage, staged
from web_harness import MakeClient, bearer, raw, serving, spoken, start

PIECE = b"10000\r\n" + b"a" * 65536 + b"\r\n"


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """An offer made in the engine under test."""
    return await staged(town, client)


@pytest.fixture
def headers(stage: Stage) -> dict[str, str]:
    """The headers of the helper's own call."""
    return {"Host": stage.town.host, "Content-Type": "application/json", **bearer(stage.helper)}


async def test_a_body_of_10_mb_is_too_large_with_and_without_a_length(
    services: Services, stage: Stage, headers: dict[str, str]
) -> None:
    chunked = {**headers, "Transfer-Encoding": "chunked"}
    announced = {**headers, "Content-Length": "10000000"}
    async with serving(services) as port:
        endless = await spoken(port, raw("POST", start(stage.fresh), chunked), *[PIECE] * 160, b"0\r\n\r\n", half=True)
        assert b"413" in endless.partition(b"\r\n")[0]
        assert b'"code":"too_large"' in endless
        told = await spoken(port, raw("POST", start(stage.fresh), announced))
        assert b"413" in told.partition(b"\r\n")[0]
        whole = await spoken(port, raw("POST", start(stage.fresh), announced), b"a" * 10_000_000, half=True)
        assert b"413" in whole.partition(b"\r\n")[0]
        asking = raw("POST", start(stage.fresh), {**headers, "Content-Length": "2", "Expect": "100-continue"})
        assert (await spoken(port, asking, b"{}")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 4")
        small = await spoken(port, raw("POST", start(stage.fresh), chunked), b'3\r\n{"a\r\n0\r\n\r\n')
        assert b'"code":"validation_error"' in small
    assert await stage.town.count("care.threads") == 1


async def test_what_is_no_http_is_refused_without_a_word_of_ours(
    services: Services, stage: Stage, headers: dict[str, str]
) -> None:
    many = "".join(f"X-{n}: {'a' * 100}\r\n" for n in range(2000)).encode()
    async with serving(services) as port:
        for broken in (
            b"nonsense\r\n\r\n",
            raw("GET", "/ HTTP/9.9", headers),
            raw("GET", "/caf\u00e9", headers),
            raw("GET", "/api/features", {**headers, "Idempotency-Key": "a\x00b"}),
            raw("GET", "/api/features", {**headers, "Idempotency-Key": "a\x01b"}),
            raw("POST", start(stage.fresh), {**headers, "Content-Length": "-1"}),
            raw("POST", start(stage.fresh), {**headers, "Content-Length": "5", "Transfer-Encoding": "chunked"}),
            b"GET / HTTP/1.1\r\n" + many + b"\r\n",
            b"GET / HTTP/1.1\r\n" + many * 3,
            b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000,
            b"GET /" + b"a" * 300_000,
        ):
            answer = await spoken(port, broken, half=True)
            assert b" 400 " in answer.partition(b"\r\n")[0] or answer == b"", (broken[:60], answer[:90])
            assert b"Traceback" not in answer


async def test_a_wish_for_another_protocol_is_answered_in_this_one_and_no_warning(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(services) as port:
        for wished in ("websocket", "h2c"):
            upgrading = {"Host": "localhost", "Connection": "Upgrade, close", "Upgrade": wished}
            assert b" 200 " in (await spoken(port, raw("GET", "/api/health/live", upgrading))).partition(b"\r\n")[0]
    assert not [one.getMessage() for one in caplog.records if one.name == "uvicorn.error" and one.levelname != "INFO"]


async def test_a_caller_who_hangs_up_is_no_fault(services: Services, stage: Stage, headers: dict[str, str]) -> None:
    half = raw("POST", start(stage.fresh), {**headers, "Content-Length": "50"}, b'{"initial')
    with capture_logs() as logged:
        async with serving(services) as port:
            await spoken(port, half, wait=False)
            alive = await spoken(port, raw("GET", "/api/health/live", headers))
            assert alive.startswith(b"HTTP/1.1 200")
            async with asyncio.timeout(30):
                while not any(line.get("path") == start(stage.fresh) for line in logged):
                    await stage.town.count("care.threads")
    assert [line for line in logged if line["event"] == "web.fault"] == []
    assert await stage.town.count("care.threads") == 1


async def test_trailers_without_end_are_not_kept(services: Services, stage: Stage, headers: dict[str, str]) -> None:
    chunked = {**headers, "Transfer-Encoding": "chunked"}
    trailers = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(100))
    async with serving(services) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw("POST", start(stage.fresh), chunked) + b"2\r\n{}\r\n0\r\n" + trailers)
        async with asyncio.timeout(30):
            while await reader.read(65536):
                pass
        writer.close()
        few = b"2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n"
        assert b'"validation_error"' in await spoken(port, raw("POST", start(stage.fresh), chunked), few)


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", b"POST /sign-in HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"]
)
async def test_a_caller_who_says_nothing_more_is_not_waited_for(
    services: Services, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)
    async with serving(services) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(30):
            await reader.read()
        writer.close()


class Wire(asyncio.Transport):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def test_a_head_and_its_body_leave_as_one_and_nothing_is_left_behind() -> None:
    wire = Wire()
    gathering = server.Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"head")
    gathering.write(b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"headbody"]
    for _ in range(3):
        gathering.write(b"a" * 30_000)  # the transport hears of it in the same turn, or it could hold nobody back
    assert wire.sent[1:] == [b"a" * 90_000]
    gathering.write(b"last")
    gathering.close()
    assert (wire.sent[2:], wire.closed) == ([b"last"], True)
    gathering.write(b"too late")
    await asyncio.sleep(0)
    assert len(wire.sent) == 3
