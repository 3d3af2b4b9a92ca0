"""Features for the caller, and how this node is. Open to everybody; nothing here is anybody's."""

from typing import Any, Final

from litestar import Response, Router, get
from litestar.openapi.datastructures import ResponseSpec

from care_collective.errors import Code
from care_collective.operations import health
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.security import AnyRequest

_REFUSALS: Final = (Code.UNAUTHENTICATED, Code.UNAVAILABLE, Code.RPC_ERROR)


def _either(shape: type) -> dict[int, ResponseSpec]:
    """The same shape when all is well and when it is not."""
    wrong = ResponseSpec(shape, description="Members cannot be served", generate_examples=False)
    return {**schemas.answers(shape), 503: wrong}


@get("/features", guards=[security.anyone], responses=schemas.answers(schemas.Features, *_REFUSALS))
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


@get("/health", responses=_either(schemas.Health))
async def node_health(request: AnyRequest) -> Response[bytes]:
    """Version, database, migrations, outbox and the flag as this node sees it. 503 when members cannot be served."""
    found = await _report(request)
    return replies.made(found, status=503 if found["status"] == "unavailable" else 200)


@get("/health/live", responses=schemas.answers(schemas.State))
async def liveness() -> Response[bytes]:
    """Whether this process answers at all."""
    return replies.made({"status": "ok"})


@get("/health/ready", responses=_either(schemas.State))
async def readiness(request: AnyRequest) -> Response[bytes]:
    """Whether this process can serve members now."""
    found = await _report(request)
    return replies.made({"status": found["status"]}, status=200 if found["status"] == "ok" else 503)


router = Router("/api", tags=["health"], route_handlers=[features, node_health, liveness, readiness])
