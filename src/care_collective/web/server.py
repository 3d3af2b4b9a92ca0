"""Serves the application with uvicorn: one process, graceful end."""

import asyncio
import resource
from asyncio import TimerHandle
from collections.abc import Callable
from socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_USER_TIMEOUT, create_server, socket
from typing import Any, Final, cast

import openfeature.api
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from care_collective.errors import SettingsError
from care_collective.operations.startup import Deployment
from care_collective.rollout.provider import RolloutProvider
from care_collective.settings import Settings
from care_collective.web.app import make_app
from care_collective.web.edge import Edge
from care_collective.web.services import make_services

# Past this a request in flight is cut, so that a restart never hangs on one slow client.
SHUTDOWN_SECONDS: Final = 10
BACKLOG: Final = 2048
LONGEST_HEAD: Final = 64 * 1024
# A head or a body that takes longer is no person's browser; without a bound each is an open file for ever.
HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0
# Nothing of what was sent has arrived for so long: there is nobody any more, or somebody who does not read.
UNHEARD_SECONDS: Final = 60
# Bytes that a turn gathers before they are sent all the same: asyncio's own bound, past which it has writers wait.
_GATHERED: Final = 64 * 1024


class Gathering(asyncio.Transport):
    """A transport that sends what one turn of the loop writes as one: an answer's head and its body would otherwise be
    two packets, and wake whoever reads twice. What is long goes at once: whoever writes much in one turn is held back
    by the transport alone."""

    __slots__ = ("_length", "_loop", "_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._length = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends at the end of this turn, or as soon as it is much."""
        if not self._pieces:
            self._loop.call_soon(self._send)
        self._pieces.append(bytes(data))
        self._length += len(data)
        if self._length > _GATHERED:
            self._send()

    def close(self) -> None:
        """Ends the connection after what has been written."""
        self._send()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection ends."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  the transport's own
        """What the transport knows of itself."""
        return self._transport.get_extra_info(name, default)

    def _send(self) -> None:
        pieces, self._pieces, self._length = self._pieces, [], 0
        if pieces and not self._transport.is_closing():  # who hung up meanwhile hears nothing
            self._transport.write(b"".join(pieces))


class Protocol(HttpToolsProtocol):
    """Bounds what a caller can hold for nothing: the length of a head and of trailers, and the time to arrive."""

    # Each open stream has one of these: with slots its dictionary stays below the size that objects can share, and an
    # empty deque is three quarters of a kilobyte.
    __slots__ = ("_deadline", "_head", "_trailers", "_unanswered")

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  the server's own
        super().__init__(*args, **kwargs)
        self._head: int | None = None
        self._trailers = 0
        self._deadline: TimerHandle | None = None
        self._unanswered: list[RequestResponseCycle] = []

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  the server's own
        """The transport's call at its beginning: a first request has to come."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in {AF_INET, AF_INET6}:
            # A phone that left its network says nothing: a stream to it would be open for a quarter of an hour.
            connection.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, UNHEARD_SECONDS * 1000)
        self.transport = Gathering(transport, self.loop)
        self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport's call at its end. Tells every request: the server itself tells the last one that came in,
        and a stream with another request behind it would go on for nobody."""
        self._expect(None)
        for cycle in self._unanswered:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The parser's call at the first byte of a request."""
        super().on_message_begin()
        self._head, self._trailers = 0, 0
        self._expect(HEAD_SECONDS)

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser's call for a header, and for a trailer after a body in pieces: nothing of ours reads trailers."""
        if self._head is not None:
            super().on_header(name, value)
            return
        self._trailers += len(name) + len(value)
        if self._trailers > LONGEST_HEAD:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The parser's call at the end of the headers."""
        self._head = None
        self._expect(BODY_SECONDS)
        super().on_headers_complete()
        while self._unanswered and self._unanswered[0].response_complete:
            del self._unanswered[0]
        self._unanswered.append(self.cycle)

    def on_message_complete(self) -> None:
        """The parser's call at the end of a request. Between requests the server's own keep-alive bound holds."""
        self._expect(None)
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """The transport's call. Ends a connection whose request's head has no end."""
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > LONGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of this request is too long.")

    def _unsupported_upgrade_warning(self) -> None:
        # Any caller may wish for another protocol, some do with each request, and is answered in this one: no line of
        # the log is theirs, and none that tells operators to install what we do not use.
        pass

    def _expect(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.close)


class Server(uvicorn.Server):
    """Tells when it listens, by `ready`, and when it is about to wait for the requests in flight, by `ending`."""

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Starts listening and says so. A signal that came meanwhile ends what has been started."""
        await super().startup(sockets)
        if self.should_exit:
            await self.shutdown(sockets)
        elif self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Ends. What would go on for ever is told so, instead of being waited for."""
        self._ending()
        await super().shutdown(sockets)


async def serve(deployment: Deployment, *, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is called once with the base URL when it listens.

    Errors: SettingsError when the address cannot be listened on.
    """
    _allow_connections()
    settings = deployment.settings
    listening = _listen("CARE_PORT, --port", settings.host, settings.port)
    settings = settings.listening_on(listening.getsockname()[1])
    services = make_services(settings, deployment.database, deployment.listener, reserved=deployment.reserved)
    if services.fanout is not None:
        await services.fanout.prove()
    openfeature.api.set_provider(RolloutProvider(services.flags))
    bind = settings.metrics_bind
    metrics = None if bind is None else _listen("CARE_METRICS_BIND", bind.host, bind.port)
    config = make_config(settings, make_app(services, metrics))
    server = Server(config, ready=lambda: ready(settings.base_url), ending=services.live.end)
    await server.serve([listening])


def _allow_connections() -> None:
    """Raises the number of open files to what this user may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(setting: str, host: str, port: int) -> socket:
    """The listening socket, bound before anything else is started: port 0 has become a real one."""
    family = AF_INET6 if ":" in host else AF_INET
    try:
        return create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise SettingsError(
            f"{setting}: {host} port {port} cannot be listened on ({why}). Choose another port or host."
        ) from error


def make_config(settings: Settings, application: Edge) -> uvicorn.Config:
    """How uvicorn serves an application; tests serve by the same."""
    proxies = [str(network) for network in settings.trusted_proxies]
    return uvicorn.Config(
        cast(Any, application),
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        loop="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
