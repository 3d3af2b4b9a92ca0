"""What is tried again, how often, after how long, and under which key: the rules alone, against answers made here."""

from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest

from care_collective.client import (
    CareClient,
    ConnectionFailed,
    Failed,
    RateLimited,
    Refused,
    Unavailable,
    UnreadableAnswer,
)

ID = uuid4()
SENT = {"success": True, "message_id": str(ID), "seq": 1, "new_member": "of a later server"}
OTHERS = (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 502, 504)
BROKEN = (
    httpx.ConnectError("x"),
    httpx.ConnectTimeout("x"),
    httpx.ReadTimeout("x"),
    httpx.WriteTimeout("x"),
    httpx.PoolTimeout("x"),
    httpx.ReadError("x"),
    httpx.WriteError("x"),
    httpx.CloseError("x"),
    httpx.RemoteProtocolError("x"),
)
Given = httpx.Response | Exception


class Server:
    """Gives answers in turn, the last of them for ever, and remembers requests and pauses."""

    def __init__(self, *answers: Given, random: Callable[[], float] = lambda: 0.0, **options: object) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.client = CareClient(
            "http://care.example/", http=http, sleep=self._sleep, random=random, **options  # type: ignore[arg-type]
        )  # fmt: skip

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @property
    def keys(self) -> list[str | None]:
        """The idempotency key of each request."""
        return [request.headers.get("idempotency-key") for request in self.requests]


def told(status: int, code: str | None = None, headers: dict[str, str] | None = None, **more: object) -> httpx.Response:
    """An error as the server tells it, or, without a code, as some proxy does."""
    if code is None:
        return httpx.Response(status, text="<h1>No</h1>", headers=headers)
    return httpx.Response(status, json={"error": "No.", "code": code, "request_id": "r1", **more}, headers=headers)


def sent(**headers: str) -> httpx.Response:
    """A message that was written."""
    return httpx.Response(201, json=SENT, headers=headers)


@pytest.mark.parametrize("failure", [told(503, "unavailable"), told(503), *BROKEN], ids=repr)
async def test_a_write_is_tried_again_under_its_one_key(failure: Given) -> None:
    server = Server(failure, failure, sent(**{"Idempotency-Replayed": "true"}))
    result = await server.client.messaging.send_message(ID, "Hello")
    assert (result.message_id, result.seq, result.replayed) == (ID, 1, True)
    assert len(server.keys) == 3
    assert UUID(server.keys[0]).version == 4
    assert len(set(server.keys)) == 1
    assert len({request.content for request in server.requests}) == 1
    other = Server(sent())
    assert not (await other.client.messaging.send_message(ID, "Hello")).replayed
    assert other.keys != server.keys[:1]


@pytest.mark.parametrize("failure", [told(503, "unavailable"), *BROKEN[:3]], ids=repr)
async def test_attempts_are_bounded_and_the_error_has_the_key(failure: Given) -> None:
    server = Server(failure, attempts=3)
    with pytest.raises((Unavailable, ConnectionFailed)) as caught:
        await server.client.messaging.send_message(ID, "Hello")
    assert len(server.requests) == 3
    assert caught.value.key == server.keys[0]
    again = Server(sent())
    await again.client.messaging.send_message(ID, "Hello", key=caught.value.key)
    assert again.keys == server.keys[:1]


@pytest.mark.parametrize("status", OTHERS)
@pytest.mark.parametrize("code", ["of_the_future", None])
async def test_no_other_answer_is_tried_again(status: int, code: str | None) -> None:
    server = Server(told(status, code), sent())
    with pytest.raises(Failed if status >= 500 else Refused) as caught:
        await server.client.messaging.send_message(ID, "Hello")
    assert len(server.requests) == 1
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, code, "r1" if code else None)


@pytest.mark.parametrize("failure", [told(503, "unavailable"), *BROKEN[:3]], ids=repr)
async def test_reads_are_tried_again_without_a_key(failure: Given) -> None:
    page = httpx.Response(200, json={"success": True, "help_requests": [], "next_cursor": None})
    server = Server(failure, page)
    assert (await server.client.requests.list(mine=True, search="a&b")).help_requests == []
    assert server.keys == [None, None]
    assert dict(server.requests[1].url.params) == {
        "limit": "20", "status": "taking_offers", "search": "a&b", "mine": "true",
    }  # fmt: skip


async def test_pauses_grow_are_drawn_and_hold_what_the_server_asked_for() -> None:
    server = Server(told(503, "unavailable"), attempts=10, random=lambda: 1.0)
    with pytest.raises(Unavailable):
        await server.client.messaging.send_message(ID, "Hello")
    assert server.pauses == pytest.approx([0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])
    for headers, more, pause in (
        ({"Retry-After": "7"}, {}, 7),
        ({"Retry-After": "7"}, {"retry_after": 3}, 3),
        ({"Retry-After": "86400"}, {}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, 0),
        ({"Retry-After": "-5"}, {}, 0),
        ({}, {"retry_after": 86400}, 30),
    ):
        for code in ("unavailable", None) if not more else ("unavailable",):
            server = Server(told(503, code, headers, **more), sent())
            await server.client.messaging.send_message(ID, "Hello")
            assert server.pauses == [pause], (headers, more, code)
    many = Server(BROKEN[0], attempts=500)
    with pytest.raises(ConnectionFailed):
        await many.client.messaging.send_message(ID, "Hello")
    assert len(many.requests) == 500


async def test_a_limit_is_waited_for_only_when_asked() -> None:
    limit = told(429, "rate_limited", retry_after=50)
    server = Server(limit, sent())
    with pytest.raises(RateLimited) as caught:
        await server.client.messaging.send_message(ID, "Hello")
    assert (caught.value.retry_after, server.pauses) == (50, [])
    patient = Server(limit, told(429, None, {"Retry-After": "3600"}), sent(), wait_for_limits=True)
    await patient.client.messaging.send_message(ID, "Hello")
    assert patient.pauses == [50, 3600]
    assert len(set(patient.keys)) == 1
    day = Server(told(429, "rate_limited", retry_after=3601), sent(), wait_for_limits=True)
    with pytest.raises(RateLimited):
        await day.client.messaging.send_message(ID, "Hello")
    endless = Server(limit, wait_for_limits=True, attempts=4)
    with pytest.raises(RateLimited):
        await endless.client.messaging.send_message(ID, "Hello")
    assert len(endless.requests) == 4


@pytest.mark.parametrize("failure", [told(503, "unavailable"), BROKEN[0], BROKEN[2]], ids=repr)
async def test_signing_in_and_out_is_tried_once_without_a_key(failure: Given) -> None:
    server = Server(failure)
    accounts = server.client.accounts
    for call in (
        lambda: accounts.sign_in("a@example.org", "pass"),
        lambda: accounts.sign_up("a@example.org", "pass", "Ann"),
        accounts.sign_out,
    ):
        with pytest.raises((Unavailable, ConnectionFailed)) as caught:
            await call()
        assert caught.value.key is None
    assert server.keys == [None] * 3


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<h1>Welcome to the hotel</h1>"),
        httpx.Response(201, json={"success": True}),
        httpx.Response(201, content=b"\xff\xfe"),
        httpx.Response(204),
        httpx.Response(302, headers={"Location": "http://elsewhere.example/"}),
    ],
    ids=repr,
)
async def test_an_answer_of_somebody_else_is_told_and_not_followed(answer: httpx.Response) -> None:
    server = Server(answer, sent())
    with pytest.raises(UnreadableAnswer, match=str(answer.status_code)) as caught:
        await server.client.messaging.send_message(ID, "Hello")
    assert len(server.requests) == 1
    assert caught.value.key == server.keys[0]


@pytest.mark.parametrize("key", ["", " a", "a ", "a\n", "caf\u00e9", "a\0b", "k" * 256])
async def test_a_key_that_is_none_is_never_sent(key: str) -> None:
    server = Server(sent())
    with pytest.raises(ValueError, match="key is 1 to 255"):
        await server.client.messaging.send_message(ID, "Hello", key=key)
    assert server.requests == []


async def test_an_id_that_is_none_leads_nowhere() -> None:
    server = Server(sent())
    for text in ("", "../auth/sign-out", f"{ID}/../x", "nonsense"):
        for call in (server.client.messaging.close, server.client.requests.get, server.client.requests.complete):
            with pytest.raises(ValueError, match="UUID"):
                await call(text)  # type: ignore[arg-type]
    assert server.requests == []


def test_a_client_that_cannot_work_is_not_made() -> None:
    with pytest.raises(ValueError, match="base_url"):
        CareClient("care.example")
    with pytest.raises(ValueError, match="attempts"):
        CareClient("http://care.example", attempts=0)


async def test_its_own_connections_are_closed_and_a_given_client_is_not() -> None:
    own, server = CareClient("http://care.example"), Server(sent())
    for client in (own, server.client):
        async with client as entered:
            assert entered is client
    assert [client._http.is_closed for client in (own, server.client)] == [True, False]
