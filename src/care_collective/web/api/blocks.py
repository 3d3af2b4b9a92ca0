"""Blocks over HTTP: whom one wants nothing to do with. Never told to whom it is done."""

from typing import Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.params import FromPath

from care_collective.errors import Code
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.body import check_query
from care_collective.web.security import MemberRequest


class Block(msgspec.Struct, frozen=True):
    """Somebody whom the caller has blocked, and since when."""

    user: schemas.Person
    created_at: schemas.Moment


class Blocks(msgspec.Struct, frozen=True):
    """Whom the caller has blocked, the latest first."""

    success: Literal[True]
    blocks: list[Block]


@get("/", responses=schemas.answers(Blocks, *schemas.ALWAYS))
async def list_blocks(request: MemberRequest) -> Response[bytes]:
    """Whom the caller has blocked, the latest first."""
    return replies.passed_on(await security.services(request).messaging.list_blocks(request.user))


@post("/{user_id:uuid}", status_code=200, responses=schemas.answers(schemas.Done, *schemas.ADDITIONS, Code.NOT_FOUND))
async def block_user(request: MemberRequest, user_id: FromPath[UUID]) -> Response[bytes]:
    """Block a member one has met: neither finds the other's requests, open conversations end. Nobody is told."""
    return replies.passed_on(await security.services(request).messaging.block_user(request.user, user_id))


@delete("/{user_id:uuid}", status_code=200, responses=schemas.answers(schemas.Done, *schemas.ADDITIONS))
async def unblock_user(request: MemberRequest, user_id: FromPath[UUID]) -> Response[bytes]:
    """End a block, where there is one. What it ended stays ended, until the caller opens it again."""
    return replies.passed_on(await security.services(request).messaging.unblock_user(request.user, user_id))


router = Router(
    "/api/blocks",
    guards=[security.member],
    before_request=check_query,
    tags=["blocks"],
    route_handlers=[list_blocks, block_user, unblock_user],
)
