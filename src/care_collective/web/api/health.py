"""Features for the caller, and how this node is. Open to everybody; nothing here is anybody's."""

from typing import Any, Final, Literal

import msgspec
from litestar import Response, Router, get
from litestar.openapi.datastructures import ResponseSpec

from care_collective.errors import Code
from care_collective.operations import health
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.security import AnyRequest


class Features(msgspec.Struct, frozen=True):
    """Which features are on for the caller."""

    messaging_v2: bool


class Flag(msgspec.Struct, frozen=True):
    """The flag as this node sees it; `alarm`: the stored stage cannot be read, or nothing has been read for 10 seconds.

    `stale` is the latter: the state is the last one known. `generation` rises with every change of a flag.
    `off_means` where who is outside V2 opens: in V1, or once that is retired nowhere, until V2 goes on.
    `guard` is watching, or blind when it has seen nothing for 30 seconds; `alerts_not_sent` wait for another try.
    """

    messaging_v2: str
    source: str
    alarm: bool
    stale: bool
    generation: int
    off_means: Literal["v1", "paused"]
    guard: str
    alerts_not_sent: int


class Migrations(msgspec.Struct, frozen=True):
    """How many migrations are applied, and why the database is not this release's where it is not."""

    applied: int
    problem: str | None


class Health(msgspec.Struct, frozen=True):
    """How a node and its database are. What asks the database is absent while that is away.

    `listening`: what other nodes do is heard at once; otherwise live streams find it within seconds.
    """

    version: str
    flag: Flag
    status: Literal["ok", "behind", "unavailable"]
    database: Literal["reached", "away", "unknown"]
    listening: bool
    server_version: int | None = None
    migrations: Migrations | None = None
    outbox_lag_seconds: float | None = None


class State(msgspec.Struct, frozen=True):
    """Whether a node answers, or can serve."""

    status: Literal["ok", "behind", "unavailable"]


_REFUSALS: Final = (Code.UNAUTHENTICATED, Code.UNAVAILABLE, Code.RPC_ERROR)


def _either(shape: type) -> dict[int, ResponseSpec]:
    """The same shape when all is well and when it is not."""
    wrong = ResponseSpec(shape, description="Members cannot be served", generate_examples=False)
    return {**schemas.answers(shape), 503: wrong}


@get("/features", guards=[security.anyone], responses=schemas.answers(Features, *_REFUSALS))
async def features(request: AnyRequest) -> Response[bytes]:
    """Which features are on for the caller; for nobody only what is on for all."""
    return replies.made({"messaging_v2": await security.services(request).messaging.uses_v2(request.user)})


async def _report(request: AnyRequest) -> dict[str, Any]:
    services = security.services(request)
    decision, flags = services.flags.decide(), services.flags
    flag = {
        "messaging_v2": str(decision.stage),
        "source": str(decision.source),
        "alarm": decision.alarm or flags.stale,
        "stale": flags.stale,
        "generation": flags.generation,
        "off_means": "paused" if flags.current().retired else "v1",
        "guard": services.guard.state,
        "alerts_not_sent": services.alerts.not_sent,
    }
    return await health.report(services.database, flag=flag, listening=services.listener.connected)


@get("/health", responses=_either(Health))
async def node_health(request: AnyRequest) -> Response[bytes]:
    """Version, database, migrations, outbox and the flag as this node sees it. 503 when members cannot be served."""
    found = await _report(request)
    return replies.made(found, status=503 if found["status"] == "unavailable" else 200)


@get("/health/live", responses=schemas.answers(State))
async def liveness() -> Response[bytes]:
    """Whether this process answers at all."""
    return replies.made({"status": "ok"})


@get("/health/ready", responses=_either(State))
async def readiness(request: AnyRequest) -> Response[bytes]:
    """Whether this process can serve members now."""
    found = await _report(request)
    return replies.made({"status": found["status"]}, status=200 if found["status"] == "ok" else 503)


router = Router("/api", tags=["health"], route_handlers=[features, node_health, liveness, readiness])
