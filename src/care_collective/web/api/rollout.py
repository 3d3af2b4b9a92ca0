"""The flag over HTTP, for operators: how it stands, and the switch. Who may, the function says, and audits it."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import JSONBody, QueryParameter

from care_collective import text
from care_collective.rollout import kpis, switch
from care_collective.rollout.kpis import Kpis, Rollout
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest

# Absent is allowed by the shape and refused by the function, so that the attempt is in the audit log.
Why = Annotated[str | None, text.CHANGE_REASON.described]


class NewStage(msgspec.Struct, frozen=True):
    """The stage to move to: off, internal, percentage:N or on; and the reason, in up to 1000 characters."""

    stage: str | None = None
    reason: Why = None
    flag: str | None = None


class Kill(msgspec.Struct, frozen=True):
    """Why V2 is stopped: data-loss, security, errors, complaints or other; and the same in words."""

    why: str | None = None
    reason: Why = None
    flag: str | None = None


class CohortChange(msgspec.Struct, frozen=True):
    """Whether to `add` or `remove` a member, by e-mail address, and the reason."""

    action: str | None = None
    email: str | None = None
    reason: Why = None
    flag: str | None = None


class Changed(msgspec.Struct, frozen=True):
    """A change that was made. `generation` is the number that nodes report once it is in force there."""

    success: Literal[True]
    generation: int
    change_id: UUID
    at: schemas.Moment


async def _operate(request: MemberRequest, action: str, **arguments: str | None) -> Response[bytes]:
    database = security.services(request).database
    return replies.passed_on(await switch.operate(database, request.user, action, arguments))


@get("/", responses=schemas.answers(Rollout, *schemas.ALWAYS))
async def see_rollout(request: MemberRequest) -> Response[bytes]:
    """How messaging_v2 stands: stage, cohort, what is in force on each node, the last changes. For operators."""
    return await _operate(request, "see")


@post("/set", status_code=200, responses=schemas.answers(Changed, *schemas.WRITES))
async def set_stage(request: MemberRequest, data: JSONBody[NewStage]) -> Response[bytes]:
    """Move to another stage. Refused while stopped, and where a node's environment declares the stage."""
    return await _operate(request, "set", stage=data.stage, reason=data.reason, flag=data.flag)


@post("/kill", status_code=200, responses=schemas.answers(Changed, *schemas.WRITES))
async def kill_rollout(request: MemberRequest, data: JSONBody[Kill]) -> Response[bytes]:
    """Stop V2 on every node at once: new conversations open in V1, every thread goes on where it is."""
    return await _operate(request, "kill", why=data.why, reason=data.reason, flag=data.flag)


@post("/resume", status_code=200, responses=schemas.answers(Changed, *schemas.WRITES))
async def resume_rollout(request: MemberRequest, data: JSONBody[NewStage]) -> Response[bytes]:
    """Go on after a stop, at `internal` unless another stage is named."""
    return await _operate(request, "resume", stage=data.stage, reason=data.reason, flag=data.flag)


@post("/cohort", status_code=200, responses=schemas.answers(Changed, *schemas.WRITES))
async def change_cohort(request: MemberRequest, data: JSONBody[CohortChange]) -> Response[bytes]:
    """Name a member for the cohort, or take them out of it."""
    action = f"cohort_{data.action}" if data.action in {"add", "remove"} else "cohort"
    return await _operate(request, action, email=data.email, reason=data.reason, flag=data.flag)


Exact = Annotated[bool, QueryParameter(description="Count violations over every row, however many there are")]


@get("/api/ops/kpis", responses=schemas.answers(Kpis, *schemas.ALWAYS))
async def see_kpis(request: MemberRequest, exact: Exact = False) -> Response[bytes]:
    """The numbers of messaging_v2: both engines, adoption, latency, the guard, and whether the stage may end and why.

    For operators. Cheap enough for every few seconds, unless it is to be `exact`.
    """
    return replies.made(await kpis.see(security.services(request).database, request.user, exact=exact))


switch_router = Router(
    "/api/ops/rollout",
    route_handlers=[see_rollout, set_stage, kill_rollout, resume_rollout, change_cohort],
)
router = Router(
    "/",
    guards=[security.member],
    before_request=check_query,
    tags=["operators"],
    route_handlers=[switch_router, see_kpis],
)
