"""Puts the application together: routes, error handlers, the edge around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from litestar import Litestar
from litestar.datastructures import CacheControlHeader, State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.static_files import create_static_files_router

from care_collective import __version__
from care_collective.web import errors
from care_collective.web.api import auth, health, messaging, requests
from care_collective.web.body import MAX_BYTES, StrictRequest
from care_collective.web.edge import Application, Edge
from care_collective.web.pages import accounts
from care_collective.web.services import Services


def make_app(services: Services) -> Edge:
    """The ASGI application of one process. `services` are closed with it."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await services.close()

    static = create_static_files_router(
        "/static",
        directories=[Path(__file__).parent / "static"],
        cache_control=CacheControlHeader(max_age=300, public=True),
        include_in_schema=False,
    )
    handlers: dict[Any, Any] = {Exception: errors.answer_page}
    application = Litestar(
        route_handlers=[messaging.router, requests.router, auth.router, health.router, accounts.router, static],
        request_class=StrictRequest,
        request_max_body_size=MAX_BYTES,
        exception_handlers=handlers,
        lifespan=[lifespan],
        state=State({"services": services}),
        openapi_config=OpenAPIConfig(
            title="Care Collective", version=__version__, path="/schema", render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
    )
    return Edge(cast(Application, application), tls=services.settings.base_url.startswith("https:"))
