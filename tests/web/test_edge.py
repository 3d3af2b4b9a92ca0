"""What every answer carries, whoever made it: headers, references, and the bound on hammering."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from care_collective.messaging.service import Messaging
from care_collective.web import assets
from care_collective.web.doorkeeper import REFUSALS, REMEMBERED, REQUESTS
from care_collective.web.edge import Edge, Message, Receive, Scope, Send
from care_collective.web.services import Services
from harness import Care, Town
from web_harness import Client, MakeClient, application_of, bearer, browser, services_for

CSP = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": CSP,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@pytest.fixture
def engine() -> str:
    """The edge knows no engine: one is enough."""
    return "v2"


async def everywhere(client: Client) -> AsyncIterator[tuple[httpx.Response, int]]:
    """Answers of every kind, with the status each should have."""
    for method, path, status in (
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/api/features", 200),
        ("GET", "/static/care.css", 200),
        ("GET", "/static/nope.css", 404),
        ("GET", "/static/..%2f..%2fapp.py", 404),
        ("GET", "/nope", 404),
        ("GET", "/api/nope", 404),
        ("GET", "/account", 303),
        ("GET", "/api/auth/me", 401),
        ("DELETE", "/api/requests", 405),
        ("DELETE", "/account", 405),
        ("OPTIONS", "/api/features", 204),
        ("POST", "/api/auth/sign-in", 400),
        ("GET", "/schema/openapi.json", 200),
    ):
        yield await client.request(method, path), status


async def test_every_answer_carries_the_headers_and_its_own_reference(client: MakeClient) -> None:
    references = set()
    async for answer, status in everywhere(client(None)):
        assert answer.status_code == status, answer.request.url
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.request.url
        assert "strict-transport-security" not in answer.headers
        kept = answer.request.url.path.startswith("/static/") and status == 200
        assert answer.headers["cache-control"] == ("max-age=300, public" if kept else "no-store"), answer.request.url
        assert len(answer.headers.get_list("x-request-id")) == 1
        references.add(answer.headers["x-request-id"])
        if answer.headers.get("content-type") == "application/json" and status >= 400:
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert len(references) == 15


async def test_a_file_is_kept_for_as_long_as_its_address_stands_for_it(client: MakeClient) -> None:
    asked = client(None)
    file = await asked.get(f"{assets.ROOT}/site.css")
    assert (file.status_code, file.headers["content-encoding"]) == (200, "gzip")
    assert file.headers["cache-control"] == "max-age=31536000, public, immutable"
    plain = await asked.get("/static/site.css", headers={"accept-encoding": "identity"})
    again = await asked.get("/static/site.css", headers={"if-none-match": file.headers["etag"]})
    assert (plain.content, "content-encoding" in plain.headers) == (file.content, False)
    for accepted, packed in (("br, GZIP;q=0.5", True), ("gzip;q=0, *", False), ("x, gzip; q=0.0", False)):
        asked_so = await asked.get("/static/site.css", headers={"accept-encoding": accepted})
        assert (asked_so.content, "content-encoding" in asked_so.headers) == (file.content, packed), accepted
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", file.headers["etag"])
    of_another_release = await asked.get("/static/0123456789ab/icons.svg")
    assert (of_another_release.status_code, of_another_release.headers["content-type"]) == (200, "image/svg+xml")
    assert {one.headers["cache-control"] for one in (plain, again, of_another_release)} == {"max-age=300, public"}


async def test_a_reference_is_never_the_callers(client: MakeClient) -> None:
    answer = await client(None).get("/api/nope", headers={"x-request-id": "mine"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] != "mine"


async def test_over_tls_browsers_are_told_to_stay_there(shared: Care, town: Town) -> None:
    node = services_for(shared, base_url="https://care.example")
    async with browser(node, town) as client:
        async for answer, _ in everywhere(client):
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
    await node.close()


async def test_what_nobody_foresaw_is_a_fault_with_a_reference_and_its_trace_in_the_log_alone(
    client: MakeClient, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> bool:  # noqa: ANN401
        raise RuntimeError("column profiles.secret does not exist")

    monkeypatch.setattr(Messaging, "uses_v2", broken)
    monkeypatch.setattr("care_collective.web.pages.accounts.current_member", broken)
    for path in ("/api/features", "/"):
        with capture_logs() as logged:
            answer = await client(await town.member()).get(path)
        assert answer.status_code == 500
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        reference = answer.headers["x-request-id"]
        assert reference in answer.text
        assert not any(word in answer.text for word in ("RuntimeError", "secret", "test_edge", "Traceback"))
        faults = [line for line in logged if line["event"] == "web.fault"]
        assert [(line["request_id"], line["path"]) for line in faults] == [(reference, path)]
        assert "builtins.RuntimeError" in faults[0]["trace"]
        assert "test_edge.py" in faults[0]["trace"]
        assert "secret" not in faults[0]["trace"]


class Minute:
    """An application that answers what it is told, behind a door whose clock stands still."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.now = 1000.0
        self.edge = Edge(self.app, clock=lambda: self.now)

    async def app(self, _: Scope, __: Receive, send: Send) -> None:
        """Answers the status."""
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def call(self, address: str | None) -> tuple[int, dict[bytes, bytes]]:
        """One call from an address."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        client = (address, 1) if address is not None else None
        await self.edge({"type": "http", "method": "GET", "path": "/", "client": client}, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])


async def test_refusals_are_bounded_by_address_and_the_minute_passes() -> None:
    door = Minute(401)
    for _ in range(REFUSALS):
        assert (await door.call("203.0.113.9"))[0] == 401
    status, headers = await door.call("203.0.113.9")
    assert status == 429
    assert headers[b"retry-after"] == b"61"
    assert headers[b"content-security-policy"].decode() == CSP
    assert (await door.call("203.0.113.10"))[0] == 401
    door.status = 200
    assert (await door.call("203.0.113.9"))[0] == 429
    door.now += 60
    assert (await door.call("203.0.113.9"))[0] == 200
    door.status = 401
    for _ in range(REFUSALS):
        door.now += 0.19
        assert (await door.call("203.0.113.9"))[0] == 401
    assert (await door.call("203.0.113.9"))[0] == 429
    door.now += 4
    assert (await door.call("203.0.113.9"))[0] == 401  # a minute after the first refusal, not after the last


@pytest.mark.parametrize("status", [200, 201, 303, 409, 503])
async def test_what_is_no_refusal_is_not_counted(status: int) -> None:
    door = Minute(status)
    for _ in range(REFUSALS + 5):
        assert (await door.call("203.0.113.9"))[0] == status


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", None])
async def test_this_machines_own_programs_are_not_bounded(address: str | None) -> None:
    door = Minute(404)
    for _ in range(REFUSALS + 5):
        assert (await door.call(address))[0] == 404


async def test_all_requests_are_bounded_too_at_ten_times_that() -> None:
    door = Minute(409)
    for _ in range(REQUESTS):
        assert (await door.call("203.0.113.9"))[0] == 409
    assert (await door.call("203.0.113.9"))[0] == 429


async def test_a_network_of_one_household_is_one_and_forgets_nobody_else() -> None:
    door = Minute(401)
    for _ in range(REFUSALS):
        await door.call("2001:db8:0:1::1")
    assert (await door.call("2001:db8:0:1::ffff"))[0] == 429
    assert (await door.call("2001:db8:0:2::1"))[0] == 401
    assert (await door.call("::ffff:127.0.0.1"))[0] == 401
    for number in range(REMEMBERED - 10):
        await door.call(f"2001:db8:1:{number:x}::1")
    assert (await door.call("2001:db8:0:1::2"))[0] == 429
    for _ in range(REFUSALS):
        await door.call("no address at all")
    assert (await door.call("no address at all"))[0] == 429


@pytest.mark.parametrize("path", ["/static/%00", "/static/care.css/..", "/static/care.css/x", "/static/x/care.css"])
async def test_a_file_that_cannot_be_is_not_found(services: Services, town: Town, path: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application_of(services))) as client:
        answer = await client.get(f"http://{town.host}{path}")
    assert answer.status_code == 404


async def test_more_parameters_than_any_call_takes_are_refused(services: Services, town: Town) -> None:
    member = await town.member()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application_of(services))) as client:
        query = "&".join(f"p{number}=1" for number in range(51))
        answer = await client.get(f"http://{town.host}/api/requests?{query}", headers=bearer(member))
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


async def test_the_bound_holds_for_the_whole_application(services: Services, town: Town) -> None:
    transport = httpx.ASGITransport(application_of(services), client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{town.host}") as client:
        answers = [await client.get("/api/auth/me") for _ in range(REFUSALS + 1)]
        looked = {"accept": "text/html,*/*;q=0.8", "accept-language": "es"}
        page, call = await client.get("/requests", headers=looked), await client.get("/api/requests", headers=looked)
    assert [a.status_code for a in answers] == [401] * REFUSALS + [429]
    body = answers[-1].json()
    assert (body["code"], body["request_id"]) == ("rate_limited", answers[-1].headers["x-request-id"])
    assert answers[-1].headers["retry-after"] == str(body["retry_after"])
    assert call.json()["code"] == "rate_limited"
    assert (page.status_code, page.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert "Ha sido demasiado rápido" in page.text
    assert page.headers["x-request-id"] in page.text
