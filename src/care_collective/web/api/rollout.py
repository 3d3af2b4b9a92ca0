"""The flag over HTTP, for operators: how it stands, and the switch. Who may, the function says, and audits it."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import JSONBody

from care_collective import text
from care_collective.db.call import Caller
from care_collective.rollout import switch
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query

MemberRequest = Request[Caller, Any, Any]

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


class CohortMember(msgspec.Struct, frozen=True):
    """A member named for the cohort."""

    user_id: UUID
    email: str
    added_by: str
    added_at: schemas.Moment


class LiveNode(msgspec.Struct, frozen=True):
    """A serving process, what is in force there, where that comes from, and since when it knows this generation."""

    node_id: UUID
    name: str
    release: str
    started_at: schemas.Moment
    seen_at: schemas.Moment
    seen_seconds_ago: float
    generation: int
    reached_at: schemas.Moment
    stage: str
    source: str
    alarm: bool


class Stop(msgspec.Struct, frozen=True):
    """Who or which rule stopped the flag, why, and the numbers that led to it."""

    id: UUID
    actor: str
    at: schemas.Moment
    why: str | None
    words: str
    numbers: dict[str, Any] | None
    from_stage: str | None


class Change(msgspec.Struct, frozen=True):
    """A row of the flag's history."""

    id: UUID
    at: schemas.Moment
    actor: str
    action: str
    from_stage: str | None
    to_stage: str | None
    why: str | None
    words: str
    numbers: dict[str, Any] | None
    generation: int | None
    told_at: schemas.Moment | None


class Rollout(msgspec.Struct, frozen=True):
    """The flag whole. A cohort of nobody is coordinators and operators; a stage that is not `readable` is off."""

    success: Literal[True]
    name: str
    stage: str
    readable: bool
    salt: str
    stopped: Literal["killed", "tripped"] | None
    stopped_by: Stop | None
    generation: int
    since: schemas.Moment
    cohort: list[CohortMember]
    nodes: list[LiveNode]
    changes: list[Change]


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


router = Router(
    "/api/ops/rollout",
    guards=[security.member],
    before_request=check_query,
    tags=["operators"],
    route_handlers=[see_rollout, set_stage, kill_rollout, resume_rollout, change_cohort],
)
