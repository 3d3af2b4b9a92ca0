"""Puts the application together: routes, error handlers, the edge around them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from litestar import Litestar
from litestar.datastructures import CacheControlHeader, State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router

from care_collective import __version__
from care_collective.operations.upkeep import keep_pruned
from care_collective.web import errors, rest
from care_collective.web.api import auth, health, messaging, requests
from care_collective.web.body import MAX_BYTES, StrictRequest
from care_collective.web.edge import Application, Edge
from care_collective.web.pages import accounts
from care_collective.web.services import Services

DESCRIPTION: Final = """\
Mutual aid for a neighbourhood. Call with a bearer token, or with the session cookie and, for a change, its CSRF token \
in the header X-CSRF-Token. Every write but sign-up, sign-in and sign-out takes a header Idempotency-Key of up to 255 \
printable ASCII characters: the same key and content are answered as before, with Idempotency-Replayed: true."""


def make_app(services: Services) -> Edge:
    """The ASGI application of one process. `services` are closed with it."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        # What runs beside the requests, and ends when they have.
        beside = [asyncio.create_task(keep_pruned(services.database)), asyncio.create_task(services.listener.run())]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await services.close()

    static = create_static_files_router(
        "/static",
        directories=[Path(__file__).parent / "static"],
        cache_control=CacheControlHeader(max_age=300, public=True),
        include_in_schema=False,
    )
    handlers: dict[Any, Any] = {Exception: errors.answer_page}
    application = Litestar(
        route_handlers=[
            messaging.router,
            requests.router,
            auth.router,
            health.router,
            rest.router,
            accounts.router,
            static,
        ],
        request_class=StrictRequest,
        request_max_body_size=MAX_BYTES,
        exception_handlers=handlers,
        lifespan=[lifespan],
        state=State({"services": services}),
        openapi_config=OpenAPIConfig(
            title="Care Collective",
            version=__version__,
            description=DESCRIPTION,
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                    "session": SecurityScheme(type="apiKey", name="care_session", security_scheme_in="cookie"),
                }
            ),
            security=[{"bearer": []}, {"session": []}],
        ),
        logging_config=None,
    )
    return Edge(cast(Application, application), tls=services.settings.base_url.startswith("https:"))
