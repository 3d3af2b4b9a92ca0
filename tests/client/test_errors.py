"""An exception for every code, each seen from the real server, with what it says."""

import pickle
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from care_collective.client import (
    CareClientError,
    Conflict,
    ConversationExists,
    Failed,
    HelpRequestUnavailable,
    IdempotencyMismatch,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    RateLimited,
    Refused,
    RpcError,
    ServerError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from care_collective.client import errors as client_errors
from care_collective.client.models import Sent
from care_collective.client.wire import Wire
from care_collective.errors import STATUS, Code, from_sqlstate
from care_collective.messaging.service import Messaging
from client.conftest import Connect
from harness import FIRST_WORDS, Town


@pytest.fixture
def engine() -> str:
    """Both engines refuse alike: one is enough."""
    return "v2"


def test_every_code_has_its_class_and_the_right_base() -> None:
    assert set(client_errors.BY_CODE) == {str(code) for code in Code}, "a code without a class: client/errors.py"
    for name, kind in client_errors.BY_CODE.items():
        assert str(kind.CODE) == name
        assert issubclass(kind, Failed if STATUS[Code(name)] >= 500 else Refused)
    assert len(set(client_errors.BY_CODE.values())) == len(Code)


def test_every_exception_can_be_had_from_the_package() -> None:
    import care_collective.client as package

    kinds = {n for n, v in vars(client_errors).items() if isinstance(v, type) and issubclass(v, CareClientError)}
    assert kinds <= set(package.__all__)


async def test_every_refusal_of_the_server_is_its_exception(
    port: int, connect: Connect, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, helper, pending = (
        await town.member("Olga"), await town.member("Hal"), await town.member("Pia", status="pending"),
    )  # fmt: skip
    suspended = await town.member("Sue")
    await town.restrict(suspended, "suspended", until="1 day", why="Sent adverts")
    asking, helping, stranger = connect(port, owner), connect(port, helper), connect(port, await town.member("Sam"))
    request, ended = await town.request(owner), await town.request(owner, status="completed")
    conversation = (await helping.messaging.start_conversation(request, FIRST_WORDS)).conversation_id
    seen: set[str] = set()

    async def raised(kind: type[Any], call: Any, reason: str | None = None) -> Any:  # noqa: ANN401
        with pytest.raises(CareClientError) as caught:
            await call
        error = caught.value
        assert (type(error), error.reason) == (kind, reason)
        assert (error.code, error.status) == (kind.CODE, STATUS[kind.CODE])
        assert error.request_id
        assert error.request_id in str(error)
        assert error.message in str(error)
        assert FIRST_WORDS not in str(error)
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), copied.problem) == (kind, error.problem)
        seen.add(str(error.code))
        return error

    there = await raised(ConversationExists, helping.messaging.start_conversation(request, FIRST_WORDS))
    assert (there.conversation_id, there.state) == (conversation, "active")
    await raised(HelpRequestUnavailable, helping.messaging.start_conversation(ended, FIRST_WORDS))
    await raised(PermissionDenied, connect(port, pending).requests.create("A ride", "other"), "not_approved")
    taken = await raised(PermissionDenied, connect(port, suspended).requests.create("A ride", "other"), "restricted")
    assert (taken.restriction, taken.why) == ("suspended", "Sent adverts")
    assert 0 < (taken.until - datetime.now(UTC)).total_seconds() < 90_000
    await raised(PermissionDenied, stranger.messaging.send_message(conversation, "Hello"), "not_participant")
    await raised(PermissionDenied, helping.messaging.accept_offer(conversation), "role")
    wrong = await raised(ValidationFailed, asking.requests.create("No", "other"))
    assert set(wrong.fields) == {"title"}
    own = await raised(ValidationFailed, asking.messaging.start_conversation(request, FIRST_WORDS), "own_request")
    assert own.fields == {}
    await raised(NotFound, stranger.messaging.get_messages(conversation))
    await raised(NotFound, stranger.requests.get(uuid4()))
    await asking.messaging.send_message(conversation, "Thank you!", key="k")
    mismatch = await raised(IdempotencyMismatch, asking.messaging.send_message(conversation, "Other words", key="k"))
    assert mismatch.key == "k"
    early = await raised(Conflict, asking.messaging.release_helper(conversation), "state")
    assert early.help_request_status == "open"
    await raised(TooLarge, asking.messaging.send_message(conversation, "a" * 100_000))
    await raised(Unauthenticated, connect(port).requests.list())
    wire = Wire(f"http://127.0.0.1:{port}", asking._http)
    await raised(MethodNotAllowed, wire.answer("DELETE", "/api/requests", Sent, headers={}))
    tokened = asking.messaging._calls._session._identity.headers()
    form = {**tokened, "Content-Type": "text/plain"}
    await raised(UnsupportedMediaType, wire.answer("POST", "/api/requests", Sent, headers=form, body={}))
    tight = await town.care.town(limits={"messages_per_minute": 1})
    writer = await tight.member("Tom")
    writing = connect(port, writer)
    opened = await writing.messaging.start_conversation(await tight.request(await tight.member("Ulla")), FIRST_WORDS)
    await writing.messaging.send_message(opened.conversation_id, "One")
    limited = await raised(RateLimited, writing.messaging.send_message(opened.conversation_id, "Two"))
    assert 0 < limited.retry_after <= 60
    await helping.messaging.close(conversation)
    closed = await raised(PermissionDenied, asking.messaging.send_message(conversation, "Hello?"), "not_active")
    assert closed.state == "closed"

    for kind, state in ((RpcError, "42883"), (Unavailable, "57P03")):  # no such function; a database that is away

        async def refused(*_: object, state: str = state, **__: object) -> None:
            raise from_sqlstate(state)

        monkeypatch.setattr(Messaging, "list_conversations", refused)
        later = await raised(kind, connect(port, owner, attempts=1).messaging.list_conversations())
    assert later.retry_after == 1

    async def broken(*_: object, **__: object) -> None:
        raise ValueError("Zebedee")

    monkeypatch.setattr(Messaging, "list_conversations", broken)
    fault = await raised(ServerError, asking.messaging.list_conversations())
    assert "Zebedee" not in str(fault)
    assert seen == {str(code) for code in Code}


def test_an_error_that_is_no_error_of_ours_is_read_as_far_as_it_goes() -> None:
    for content in (b"", b"[]", b"null", b"\xff", b'{"code": 7}', b'{"error": "x", "code": "not_found", "until": "x"}'):
        error = client_errors.from_answer(httpx.Response(404, content=content, headers={"X-Request-Id": "r"}))
        assert (type(error), error.status, error.code, error.request_id) == (Refused, 404, None, "r"), content
    partly = client_errors.from_answer(httpx.Response(404, json={"error": "Nothing here.", "code": "not_found"}))
    assert (type(partly), partly.message, partly.request_id) == (NotFound, "Nothing here.", None)
    nowhere = client_errors.from_answer(httpx.Response(409, json={"error": "There.", "code": "conversation_exists"}))
    assert (type(nowhere), nowhere.code) == (Refused, "conversation_exists")


@pytest.mark.parametrize("content", [b"<h1>Busy</h1>", b'{"error": "Busy.", "code": "of_the_future"}'])
def test_a_code_of_the_future_or_of_nobody_leads_to_the_base_of_its_status(content: bytes) -> None:
    bases = {400: Refused, 418: Refused, 429: RateLimited, 500: Failed, 502: Failed, 503: Unavailable}
    for status, kind in bases.items():
        error = client_errors.from_answer(httpx.Response(status, content=content, headers={"Retry-After": "9"}))
        assert (type(error), error.status, error.problem.retry_after) == (kind, status, 9)
