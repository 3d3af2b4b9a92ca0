"""GET /metrics for Prometheus, on an address of its own (CARE_METRICS_BIND): what this process counted since its start.

Every label has few values, known beforehand; no ids, no words.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from socket import socket
from typing import Any, Final, cast

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from care_collective import __version__
from care_collective.errors import CareError
from care_collective.rollout.outcomes import BOUNDS_MS, Outcomes
from care_collective.rollout.policy import BUCKETS, MESSAGING_V2, is_for_all
from care_collective.web.edge import Application, Receive, Scope, Send
from care_collective.web.services import Services

PATH: Final = "/metrics"
_SHUTDOWN_SECONDS: Final = 1
# A scrape does not wait long for a database that is away: what this process knows is told all the same.
_DATABASE_SECONDS: Final = 2.0

_PROCESS: Final = ProcessCollector(registry=None)


def make_metrics_app(services: Services) -> Application:
    """The ASGI application behind the address of the metrics; it has one path."""

    async def application(scope: Scope, _: Receive, send: Send) -> None:
        known = scope["path"] == PATH and scope["method"] in {"GET", "HEAD"}
        body = await exposition(services) if known else b"Look at /metrics.\n"
        kind = CONTENT_TYPE_LATEST if known else "text/plain; charset=utf-8"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if known else 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return application


class _Server(uvicorn.Server):
    """A server within another's process: signals are the other's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes none."""
        yield


@asynccontextmanager
async def telling(services: Services, listening: socket | None) -> AsyncIterator[None]:
    """Tells the metrics on a listening socket for as long as the block runs; without one, nobody."""
    if listening is None:
        yield
        return
    config = uvicorn.Config(
        cast(Any, make_metrics_app(services)),
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def exposition(services: Services) -> bytes:
    """Everything that is told, in Prometheus' text form."""
    health: dict[str, Any] | None = None
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            health = (await services.database.call("care.health")).data()
    except (CareError, TimeoutError):
        pass
    families = [
        *_of_node(services, health),
        *_of_guard(services, health),
        *_of_calls(services.outcomes),
        *_of_letters(services, health),
    ]
    return generate_latest(_Collected(families))


class _Collected:
    """What `generate_latest` asks a registry for."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Every family, this process's own among them."""
        yield from self._families
        yield from _PROCESS.collect()


def _of_calls(outcomes: Outcomes) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "care_calls",
        "Calls that opened (open), wrote to (send) or read a conversation. code: success, the code of the refusal or "
        "fault, or shared where no engine could have answered. engine both: one path serves both.",
        labels=["engine", "verb", "code"],
    )
    spread: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (len(BOUNDS_MS) + 1))
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for (engine, verb, code), counts in sorted(outcomes.totals.items()):
        calls.add_metric([engine, verb, code], counts.calls)
        spread[engine, verb] = [a + b for a, b in zip(spread[engine, verb], counts.histogram, strict=True)]
        seconds[engine, verb] += counts.seconds
    yield calls
    durations = HistogramMetricFamily(
        "care_call_duration_seconds", "How long these calls took, whatever came of them.", labels=["engine", "verb"]
    )
    ends = [*(str(bound / 1000) for bound in BOUNDS_MS), "+Inf"]
    for labels, histogram in spread.items():
        reached = [sum(histogram[: place + 1]) for place in range(len(histogram))]
        durations.add_metric(list(labels), list(zip(ends, reached, strict=True)), seconds[labels])
    yield durations
    yield _gauge("care_outcomes_waiting", "Attempts that are not written to the database yet.", outcomes.waiting)
    dropped = CounterMetricFamily("care_outcomes_dropped", "Outcomes lost because the database was away for too long.")
    dropped.add_metric([], outcomes.dropped)
    yield dropped


def _of_letters(services: Services, health: dict[str, Any] | None) -> Iterator[Metric]:
    yield _tries(
        "care_letters",
        "Tries of this process to send a letter. outcome: sent, failed (tried again), dead (given up) or dropped "
        "(there is no mail server).",
        services.mailer.counts,
        ("sent", "failed", "dead", "dropped"),
    )
    if services.pusher is not None:
        yield _tries(
            "care_pushes",
            "Tries of this process to tell a member's browsers. outcome: sent, failed (tried again), letter (they are "
            "told by one instead) or dropped (and want none).",
            services.pusher.counts,
            ("sent", "failed", "letter", "dropped"),
        )
    if health is not None:
        letters = health["letters"]
        yield _gauge(
            "care_letters_waiting",
            "Letters and pushes of the deployment that are due and not sent.",
            letters["waiting"],
        )
        yield _gauge("care_letters_failing", "Those that failed and are tried again.", letters["failing"])
        yield _gauge("care_letters_given_up", "Letters that were given up: look at mail status.", letters["dead"])


def _tries(name: str, words: str, counts: Counter[str], outcomes: tuple[str, ...]) -> Metric:
    tries = CounterMetricFamily(name, words, labels=["outcome"])
    for outcome in outcomes:
        tries.add_metric([outcome], counts[outcome])
    return tries


def _of_guard(services: Services, health: dict[str, Any] | None) -> Iterator[Metric]:
    watching = services.guard.state == "watching"
    yield _gauge("care_guard_watching", "0 where this node's guard has seen nothing for 30 seconds.", watching)
    yield _gauge(
        "care_alerts_not_sent", "Alerts to operators that failed here and are tried again.", services.alerts.not_sent
    )
    guard = {} if health is None else health["guard"]
    # What is not known yet is no 0.
    if guard.get("level") is not None:
        yield _gauge("care_guard_level", "The detector: calm up to 10, it trips at 1,000,000.", guard["level"])
    if guard.get("violations") is not None:
        yield _gauge("care_violations", "Violations in rows of V2, as the guard last found them.", guard["violations"])


def _of_node(services: Services, health: dict[str, Any] | None) -> Iterator[Metric]:
    flags = services.flags
    yield InfoMetricFamily("care_build", "The release of this process.", value={"version": __version__})
    decision = flags.decide()
    stage = GaugeMetricFamily(
        "care_flag_stage", "1 for the stage in force here and where it comes from.", labels=["flag", "stage", "source"]
    )
    stage.add_metric([MESSAGING_V2, decision.stage.kind, str(decision.source)], 1)
    yield stage
    share = GaugeMetricFamily("care_flag_share", "The part of all members, 0 to 1, beside the cohort.", labels=["flag"])
    share.add_metric([MESSAGING_V2], 1 if is_for_all(decision.stage) else decision.stage.share / BUCKETS)
    yield share
    yield _gauge("care_flag_generation", "The newest change of a flag that this node knows.", flags.generation)
    yield _gauge("care_flag_alarm", "1 where the stored stage cannot be read.", decision.alarm)
    yield _gauge("care_flag_stale", "1 where the flags have not been read for a while.", flags.stale)
    yield _gauge("care_streams_open", "Pages and programs that are told live.", len(services.live))
    yield _gauge("care_database_up", "Whether the database answered this scrape.", health is not None)
    if health is not None:
        lag = health["outbox_lag_seconds"]
        yield _gauge("care_outbox_lag_seconds", "How long the oldest event has waited to be published.", lag)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=float(value))
