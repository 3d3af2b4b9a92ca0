"""What tests over HTTP stand on: the settings of a node, its services, a served socket, and what was logged."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from care_collective.accounts import tokens
from care_collective.accounts.passwords import PARAMETERS, Passwords
from care_collective.accounts.people import Accounts
from care_collective.db.listen import Listener
from care_collective.notifications.email import Delivery
from care_collective.notifications.leases import POLL_SECONDS
from care_collective.notifications.mailer import Mailer, console
from care_collective.rollout.guard.watch import LOOK_SECONDS, Guard
from care_collective.settings import Settings
from care_collective.web.app import make_app
from care_collective.web.edge import Edge
from care_collective.web.errors import is_for_programs
from care_collective.web.server import Server, make_config
from care_collective.web.services import Services, make_services, utc_now
from harness import Care, Person, Town

SETTINGS = Settings(
    data_dir=Path("unused"),
    base_url="http://care.example",
    secret_key="a secret key for tests, of 32 bytes",
    jwt_secret="a token secret for tests, 32 bytes or so",
)
# This machine's own: the door does not count its refusals.
ADDRESS = ("127.0.0.1", 4321)
PASSWORD = "three words in a row"
# What a hash costs is for the tests of hashing to show: members join in hundreds of others.
CHEAP = dataclasses.replace(PARAMETERS, time_cost=1, memory_cost=64)

Client = httpx.AsyncClient
MakeClient = Callable[[Person | None], Client]


def services_for(care: Care, *, mailing: bool = False, **changes: Any) -> Services:  # noqa: ANN401
    """The services of one node on a database, with settings changed. Its guard rests, and unless `mailing` its mailer:
    they would see to what other tests of the same database left behind.
    """
    listener = Listener(care.server.dsn(user="care_app", database=care.name))
    services = make_services(msgspec.structs.replace(SETTINGS, **changes), care.database, listener)
    services.passwords.close()
    hasher = Passwords(parameters=CHEAP)
    services = dataclasses.replace(services, passwords=hasher, accounts=Accounts(care.database, hasher))
    if not mailing:
        services = dataclasses.replace(services, mailer=_RestingMailer(care.database, _unwritten, console))
    return dataclasses.replace(services, guard=_Resting(care.database, {}, members=care.database, node_id=uuid4()))


def _unwritten(_: Delivery) -> EmailMessage:
    raise AssertionError("a mailer that rests writes nothing")


class _RestingMailer(Mailer):
    """A mailer that never looks."""

    async def run(self, *, every_seconds: float = POLL_SECONDS) -> None:
        await asyncio.Event().wait()


class _Resting(Guard):
    """A guard that never looks: other tests of the same database plant violations, which would stop V2 for all."""

    async def watch(self, *, every_seconds: float = LOOK_SECONDS) -> None:
        await asyncio.Event().wait()


class _Lent:
    """Stands in an application for the services of the node that has it at present."""

    __class__: Any = Services  # which is what handlers assert

    def __init__(self, services: Services) -> None:
        self.services = services

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever services have
        return getattr(self.services, name)


_APPLICATIONS: list[tuple[_Lent, Edge]] = []


def application_of(services: Services) -> Edge:
    """The one application of a node. Making one takes a tenth of a second: that of a closed node is handed on."""
    for lent, edge in _APPLICATIONS:
        if lent.services is services:
            return edge
    tls = services.settings.base_url.startswith("https:")
    for place, (lent, edge) in enumerate(_APPLICATIONS):
        if lent.services.outbound.is_closed:
            lent.services = services
            _APPLICATIONS[place] = lent, Edge(edge._app, tls=tls)  # which knows no caller yet
            return _APPLICATIONS[place][1]
    made = _Lent(services)
    _APPLICATIONS.append((made, make_app(cast(Services, made))))
    return _APPLICATIONS[-1][1]


def pages_of(services: Services) -> list[tuple[str, set[str]]]:
    """Every place of the router that people see, as the router writes it, with its methods."""
    routes = cast(Litestar, application_of(services)._app).routes
    return [
        (route.path_format, set(route.methods))
        for route in routes
        if isinstance(route, HTTPRoute) and not is_for_programs(route.path) and not route.path.startswith("/static")
    ]


def browser(services: Services, town: Town, *, address: tuple[str, int] = ADDRESS) -> Client:
    """A client without a token that keeps cookies, at the town's host."""
    scheme = services.settings.base_url.partition(":")[0]
    transport = httpx.ASGITransport(application_of(services), client=address)
    return httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{town.host}")


def bearer(person: Person, community_id: UUID | None = None) -> dict[str, str]:
    """The header of a member's token, of their own community unless another is named."""
    token = tokens.issue(
        SETTINGS.jwt_secret or "",
        user_id=person.user_id,
        community_id=community_id or person.town.community_id,
        now=utc_now(),
    )
    return {"Authorization": f"Bearer {token}"}


def start(request: UUID | str) -> str:
    """Where an offer on a request is sent."""
    return f"/api/messaging/help-requests/{request}/start-conversation"


def of(conversation: UUID | str, verb: str = "messages") -> str:
    """Where a conversation's verb is sent."""
    return f"/api/messaging/conversations/{conversation}/{verb}"


class _Server(Server):
    """uvicorn inside a test: signals stay with pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(services: Services, port: int = 0) -> AsyncIterator[int]:
    """The application on a real socket of this machine, served as in production; its port, a free one unless named."""
    settings = msgspec.structs.replace(services.settings, host="127.0.0.1", port=port)
    config = make_config(settings, application_of(services))
    server = _Server(config, ready=lambda: None, ending=services.live.end)
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110  uvicorn has no event to wait for
        await asyncio.sleep(0)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def spoken(port: int, *pieces: bytes, wait: bool = True, half: bool = False) -> bytes:
    """Writes raw bytes to a socket and reads until the server closes, for which it has twenty seconds.

    `wait` False hangs up at once; `half`: the server may answer and close before all is written.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        for piece in pieces:
            writer.write(piece)
            if not half:
                await writer.drain()
        while wait and (read := await asyncio.wait_for(reader.read(65536), 20)):
            found += read
    except (ConnectionError, TimeoutError):
        pass
    finally:
        if wait:
            writer.transport.abort()
        else:
            writer.close()
    return found


def raw(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as it stands on the wire; the connection ends after it."""
    lines = [f"{method} {path} HTTP/1.1", "Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def application(email: str, *, password: str = PASSWORD, name: str = "Nia") -> dict[str, str]:
    """What somebody writes to join."""
    return {"email": email, "password": password, "display_name": name, "town": "Linden"}


def fresh_email() -> str:
    """An address that nobody has yet."""
    return f"nia-{uuid4().hex[:12]}@example.org"


async def joined(client: Client, email: str, *, password: str = PASSWORD) -> dict[str, Any]:
    """Joins over HTTP, which has to succeed; the answer. The client is signed in from then on."""
    answer = await client.post("/api/auth/sign-up", json=application(email, password=password))
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def approve(town: Town, user_id: str) -> None:
    """Approves a member, as a coordinator would."""
    await town.care.owner.execute(
        "update public.profiles set verification_status = 'approved' where community_id = $1 and user_id = $2",
        town.community_id,
        UUID(user_id),
    )


def shown(logged: list[Any]) -> str:
    """Everything that was logged, as one text to look for secrets in."""
    return json.dumps(logged, default=str)
