"""Puts the application together: routes, error handlers, the edge around them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from socket import socket
from typing import Any, cast

import structlog
from litestar import Litestar, Request
from litestar.datastructures import State

from care_collective.errors import CareError
from care_collective.operations.upkeep import keep_pruned
from care_collective.operations.webpush import why_not_offered
from care_collective.requests.tending import keep_tended
from care_collective.web import assets, description, errors, rest
from care_collective.web.body import MAX_BYTES, StrictRequest
from care_collective.web.edge import Application, Edge
from care_collective.web.metrics import telling
from care_collective.web.pages import (
    accounts,
    blocks,
    coordination,
    leaving,
    messages,
    notifications,
    passwords,
    problems,
    push,
    reference,
    requests,
    rollout,
    settings,
    stream,
    unsubscribe,
)
from care_collective.web.security import SAFE_METHODS
from care_collective.web.services import Services

log = structlog.get_logger("care_collective.web")


@asynccontextmanager
async def running(services: Services, metrics: socket | None) -> AsyncIterator[None]:
    """What runs beside the requests, and ends when they have. Closes the services."""
    with suppress(CareError):  # the first answer is by the flag as it stands, not by what holds before it was read
        await services.flags.refresh()
    if services.pusher is None:
        log.info("push.not_offered", why=why_not_offered(services.settings.base_url))
    beside = [
        asyncio.create_task(work)
        for work in (
            keep_pruned(services.database),
            services.listener.run(),
            services.relay.run(),
            services.mailer.run(),
            *([] if services.fanout is None else [services.fanout.run()]),
            *([] if services.pusher is None else [services.pusher.run()]),
            services.flags.follow(),
            services.outcomes.run(),
            services.guard.watch(),
            keep_tended(services.database, services.node_id),
            services.alerts.tell_for_ever(),
        )
    ]
    for task in beside:
        task.add_done_callback(_tell_of_fault)
    try:
        async with telling(services, metrics):
            yield
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await services.outcomes.close()
        await services.close()


def _tell_of_fault(task: asyncio.Task[None]) -> None:
    """Logs what ended a task that was to go on for ever: no request would miss it."""
    if not task.cancelled() and task.exception() is not None:
        log.error("web.task_ended", task=repr(task.get_coro()), exc_info=task.exception())


def make_app(services: Services, metrics: socket | None = None) -> Edge:
    """The ASGI application of one process. `services` are closed with it; `metrics` is where it tells Prometheus."""

    async def after_response(request: Request[Any, Any, Any]) -> None:
        # Here for every verb there is and will be; what other processes write is found by looking.
        if request.method not in SAFE_METHODS:
            services.relay.nudge()

    handlers: dict[Any, Any] = {Exception: errors.answer_page}
    application = Litestar(
        route_handlers=[
            *description.ROOMS,
            description.router,
            rest.router,
            accounts.router,
            leaving.router,
            problems.router,
            requests.router,
            messages.router,
            notifications.router,
            blocks.router,
            coordination.router,
            stream.router,
            settings.router,
            passwords.router,
            push.router,
            rollout.router,
            unsubscribe.router,
            reference.router,
            assets.static,
        ],
        request_class=StrictRequest,
        request_max_body_size=MAX_BYTES,
        exception_handlers=handlers,
        lifespan=[lambda _: running(services, metrics)],
        after_response=after_response,
        state=State({"services": services}),
        openapi_config=None,  # made once a process, in description.py
        logging_config=None,
    )
    return Edge(cast(Application, application), tls=services.settings.base_url.startswith("https:"))
