"""Serves the application with uvicorn: one process, graceful end."""

from collections.abc import Callable
from socket import socket
from typing import Final

import uvicorn

from care_collective.db.call import Database
from care_collective.errors import SettingsError
from care_collective.settings import Settings
from care_collective.web.app import make_app
from care_collective.web.services import make_services

# Past this a request in flight is cut, so that a restart never hangs on one slow client.
SHUTDOWN_SECONDS: Final = 10


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Starts listening and says so."""
        await super().startup(sockets)
        if self.started:
            self._ready()


async def serve(settings: Settings, database: Database, *, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is called once with the base URL when it listens.

    Errors: SettingsError when the address cannot be listened on.
    """
    proxies = [str(network) for network in settings.trusted_proxies]
    config = uvicorn.Config(
        make_app(make_services(settings, database)),
        host=settings.host,
        port=settings.port,
        http="httptools",
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
    server = _Server(config, lambda: ready(settings.base_url))
    try:
        await server.serve()
    except SystemExit as error:  # uvicorn's way to say that the address is taken
        raise SettingsError(
            f"CARE_PORT: {settings.host}:{settings.port} cannot be listened on; choose another."
        ) from error
    if not server.started:
        raise SettingsError(f"CARE_PORT: {settings.host}:{settings.port} cannot be listened on; choose another.")
