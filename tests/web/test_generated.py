"""Generated requests over every path, as everybody: no fault, no leak, no answer that the description does not name.

CARE_TEST_ROUNDS is a factor: from 17 on a run makes more than 100,000 requests, and says how many (`-s` shows it).
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from care_collective.accounts import tokens
from care_collective.errors import from_sqlstate
from care_collective.web import offered
from care_collective.web.services import Services, utc_now
from harness import Care, Person, Postgres, Town, care
from web.calls import calls, staged
from web.generated import NAMES, Found, Role, explored, other_methods, strict
from web.test_rest import Broken
from web_harness import ADDRESS, SETTINGS, application_of, approve, bearer, fresh_email, joined, services_for, start

ROUNDS = float(os.environ.get("CARE_TEST_ROUNDS", "1"))
PLENTY = {
    "conversations_per_hour": 10**6,
    "messages_per_minute": 10**6,
    "problems_per_hour": 10**6,
    "requests_per_day": 10**6,
    "export_pages_per_hour": 10**6,
    "limited_messages_per_day": 10**6,
    "sign_ins_per_quarter_hour": 10**6,
}
NOTHING = dict.fromkeys(PLENTY, 0) | {"sign_ins_per_quarter_hour": 10**6}
WORDS = "Hello, I can come by on Friday at ten."
RESTRICTED = ("limited", "suspended", "banned")

Roles = Callable[[], Awaitable[list[Role]]]


@pytest.fixture(scope="module")
async def own(postgres: Postgres) -> AsyncIterator[Care]:
    """A database of these tests' own: an operator among them turns the flag."""
    name = await postgres.create()
    async with care(postgres, name) as opened:
        yield opened
    await postgres.drop(name)


@pytest.fixture
async def node(own: Care) -> AsyncIterator[Services]:
    """A node that opens in both engines."""
    made = services_for(own, messaging_v2_rollout="percentage:50")
    yield made
    await made.close()


class Cast:
    """Everybody there is, in a town with plenty of everything and in one where the limits are used up."""

    def __init__(self, node: Services, town: Town, poor: Town, stack: AsyncExitStack) -> None:
        self._transport = httpx.ASGITransport(application_of(node), client=ADDRESS)
        self._stack = stack
        self.town = town
        self.poor = poor
        self.members: dict[str, Person] = {}
        self.clients: dict[str, httpx.AsyncClient] = {}
        self.email = fresh_email()
        self.opened: dict[str, list[str]] = {}

    async def gather(self) -> None:
        """Makes the people, once."""
        town = self.town
        for name in ("owner", "participant", "stranger", "limited", "suspended", "banned", "expired"):
            self.members[name] = await town.member(name.capitalize())
        self.members["pending"] = await town.member("Pia", status="pending")
        self.members["coordinator"] = await town.member("Cora", coordinator=True)
        self.members["operator"] = await town.member("Otto")
        await town.care.owner.execute(
            "insert into care.operators (user_id, granted_by) values ($1, 'a test')", self.members["operator"].user_id
        )
        self.members["spent"] = await self.poor.member("Sven")
        for name, person in self.members.items():
            self.clients[name] = await self._client(person.town, bearer(person))
        old = tokens.issue(
            SETTINGS.jwt_secret or "",
            user_id=self.members["expired"].user_id,
            community_id=town.community_id,
            now=utc_now().replace(year=2020),
        )
        self.clients["expired"] = await self._client(town, {"Authorization": f"Bearer {old}"})
        self.clients["nobody"] = await self._client(town, {})
        self.clients["browser"] = await self._client(town, {})
        await self._join()

    def client(self, node: Services, person: Person) -> httpx.AsyncClient:
        """A member's client of another node."""
        transport = httpx.ASGITransport(application_of(node), client=ADDRESS)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{person.town.host}", headers=bearer(person))

    async def _client(self, town: Town, headers: dict[str, str]) -> httpx.AsyncClient:
        made = httpx.AsyncClient(transport=self._transport, base_url=f"http://{town.host}", headers=headers)
        return await self._stack.enter_async_context(made)

    async def _join(self) -> None:
        """A member with a password, whose calls carry a session cookie and its CSRF token."""
        me = await joined(self.clients["browser"], self.email)
        await approve(self.town, me["user_id"])
        self.clients["browser"].headers["X-CSRF-Token"] = me["csrf_token"]
        self.members["browser"] = Person(self.town, me["user_id"], "Nia")

    async def roles(self) -> list[Role]:
        """Everybody with requests and a conversation that nothing has happened to yet."""
        owner, participant = self.members["owner"], self.members["participant"]
        request, fresh = await self.town.request(owner), await self.town.request(owner, title="A ride on Monday")
        other = await self.poor.request(await self.poor.member("Paul"))
        if (await self.clients["browser"].get("/api/auth/me")).status_code == 401:  # it has signed out
            self.email = fresh_email()
            await self._join()
        found = []
        for name, client in self.clients.items():
            person = self.members.get(name)
            if name not in {"owner", "nobody", "pending", "expired", "spent"}:
                opened = await client.post(start(request), json={"initial_message": WORDS})
                if opened.status_code == 201:
                    self.opened[name] = [opened.json()["conversation_id"]]
            found.append((name, client, person))
        self.opened["owner"] = self.opened["participant"] + self.opened["browser"]
        await self._restrict()
        assert participant.user_id is not None
        return [
            Role(
                name=name,
                client=client,
                user_id=person.user_id if person is not None else None,
                requests=(str(other),) if name == "spent" else (str(request), str(fresh)),
                conversations=tuple(self.opened.get(name, self.opened["participant"])),
                may_act=name not in {"nobody", "expired"},
                email=self.email,
            )
            for name, client, person in found
        ]

    async def _restrict(self) -> None:
        for kind in RESTRICTED:
            person = self.members[kind]
            if await self.town.count("public.user_restrictions", f"user_id = '{person.user_id}'") == 0:
                await self.town.restrict(person, kind)


@pytest.fixture
async def cast(own: Care, node: Services) -> AsyncIterator[Cast]:
    """Everybody, in two towns."""
    async with AsyncExitStack() as stack:
        made = Cast(node, await own.town(limits=PLENTY), await own.town(limits=NOTHING), stack)
        await made.gather()
        yield made


async def test_no_generated_request_is_a_fault_or_an_answer_that_is_not_described(cast: Cast) -> None:
    found = Found()
    with capture_logs() as logged:
        for number in range(max(1, round(ROUNDS))):
            await explored(found, cast.roles, count=1 if ROUNDS <= 1 else 5, fresh_after=10, number=number)
            logged[:] = [line for line in logged if line["event"] == "web.fault"]
            print(f"\n{found.sent.total()} requests, findings {[*found.findings]}, {len(logged)} faults", flush=True)  # noqa: T201
    print(f"{dict(found.sent)}, answers {dict(sorted(found.statuses.items()))}")  # noqa: T201
    assert not found.findings, "\n".join(found.findings.values())
    assert logged == []
    assert set(found.sent) == set(cast.clients)
    assert {200, 201, 400, 401, 403, 404, 409, 429} <= set(found.statuses)
    if ROUNDS >= 17:
        assert found.sent.total() >= 100_000
    assert await cast.town.care.violations(cast.town.community_id) == []


async def test_a_method_that_a_path_does_not_have_is_told_with_those_that_it_has(cast: Cast) -> None:
    for path, method in other_methods(strict()):
        answer = await cast.clients["participant"].request(method, path)
        assert answer.status_code == 405, (method, path, answer.text)
        assert answer.headers["allow"], (method, path)
        code = "PGRST101" if path.startswith("/rest/") else "method_not_allowed"
        assert answer.json()["code"] == code, (method, path)


@pytest.mark.parametrize(("sqlstate", "status"), [("40001", 503), ("23505", 500)])
async def test_a_fault_of_the_database_is_answered_as_described(
    own: Care, node: Services, cast: Cast, sqlstate: str, status: int
) -> None:
    def caller(person: Person | None = None) -> httpx.AsyncClient:
        return cast.clients["nobody"] if person is None else cast.client(node, person)

    stage, described = await staged(cast.town, caller), strict()
    away = Care(own.name, own.server, Broken(own.database.pool, from_sqlstate(sqlstate)), own.owner)
    broken = services_for(away, messaging_v2_rollout="on")
    asked = [(call.template, call.method, call.path, call.who, call.body) for call in calls(stage)]
    rpc = "/rest/v1/rpc/"
    for name, arguments in offered.offered().items():
        given: dict[str, Any] = dict.fromkeys((a.name for a in arguments), None)
        asked.append((rpc + name, "POST", rpc + name, stage.helper, given))
    faults = 0
    for template, method, path, who, body in asked:
        client = cast.client(broken, who or stage.helper)
        answer = await client.request(method, path, json=body)
        declared = described["paths"][template][method.lower()]["responses"][str(answer.status_code)]
        if "$ref" in declared:
            declared = described["components"]["responses"][declared["$ref"].rpartition("/")[2]]
        if answer.status_code == status and not template.startswith("/api/health"):  # that answers how it is
            faults += 1
            codes = declared["content"]["application/json"]["schema"].get("properties", {}).get("code", {})
            assert answer.json()["code"] in codes.get("enum", [sqlstate]), (template, answer.text)
            assert ("retry-after" in answer.headers) is (status == 503), template
            assert not [name for name in NAMES if name in answer.text], (template, answer.text)
    assert faults > len(asked) - 12
    await broken.close()
