"""Joining, signing in and out, one's own account. These answers carry secrets, so they take no idempotency key."""

from typing import Final
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import JSONBody

from care_collective.accounts import sessions, tokens
from care_collective.accounts.people import Application
from care_collective.db.call import Caller
from care_collective.errors import CareError, Code
from care_collective.web import security
from care_collective.web.api import replies, schemas
from care_collective.web.security import AnyRequest, MemberRequest

TOKEN_SECONDS: Final = 3600


class Credentials(msgspec.Struct, frozen=True):
    """An e-mail address and its password."""

    email: str
    password: str


async def open_session(request: AnyRequest, user_id: UUID, community_id: UUID) -> str:
    """Opens a session in a community, in place of the browser's earlier one. Errors: CareError for a non-member."""
    database = security.services(request).database
    token = await sessions.start(database, user_id=user_id, community_id=community_id)
    if token is None:
        raise CareError(Code.UNAUTHENTICATED, message="This account is not a member of this community. Join it first.")
    earlier = security.session_token(request)
    if earlier is not None:
        await sessions.end(database, sessions.digest(earlier))
    return token


async def community_of(request: AnyRequest) -> UUID:
    """The community of the request's host. Errors: CareError `not_found` where there is none."""
    community_id = await security.host_community_id(request)
    if community_id is None:
        raise CareError(Code.NOT_FOUND, message="There is no community at this address.")
    return community_id


async def _signed_in(request: AnyRequest, user_id: UUID, *, status: int) -> Response[bytes]:
    community_id = await community_of(request)
    token = await open_session(request, user_id, community_id)
    services = security.services(request)
    caller = Caller(user_id, community_id, request_id=request.scope["state"]["request_id"])
    body = (await services.accounts.me(caller)).data()
    body["csrf_token"] = sessions.csrf_token(services.secret_key, token)
    secret = services.settings.jwt_secret
    if secret is not None:
        body["access_token"] = tokens.issue(
            secret,
            user_id=user_id,
            community_id=community_id,
            now=services.now(),
            lifetime_seconds=TOKEN_SECONDS,
            session=sessions.digest(token).hex(),
        )
        body["token_type"] = "bearer"  # noqa: S105  the kind of token, not one
        body["expires_in"] = TOKEN_SECONDS
    answer = replies.made(body, status=status)
    answer.set_cookie(security.session_cookie(request, token))
    return answer


_FAULTS: Final = (Code.UNAVAILABLE, Code.RPC_ERROR, Code.SERVER_ERROR)
_REFUSALS: Final = (Code.UNAUTHENTICATED, Code.VALIDATION_ERROR, Code.NOT_FOUND, *_FAULTS)


@post("/sign-up", responses=schemas.answers(schemas.Me, *_REFUSALS, status=201))
async def sign_up(request: AnyRequest, data: JSONBody[Application]) -> Response[bytes]:
    """Join the community of this address. A coordinator approves new members."""
    accounts = security.services(request).accounts
    community_id = await community_of(request)
    user_id = await accounts.sign_up(community_id, data, address=security.client_address(request))
    return await _signed_in(request, user_id, status=201)


@post("/sign-in", status_code=200, responses=schemas.answers(schemas.Me, *_REFUSALS))
async def sign_in(request: AnyRequest, data: JSONBody[Credentials]) -> Response[bytes]:
    """Sign in: a session cookie, and a bearer token where the deployment signs its own."""
    accounts = security.services(request).accounts
    community_id = await community_of(request)
    user_id = await accounts.sign_in(community_id, data.email, data.password, address=security.client_address(request))
    return await _signed_in(request, user_id, status=200)


@post("/sign-out", status_code=200, guards=[security.member], responses=schemas.answers(schemas.Done, *_FAULTS))
async def sign_out(request: MemberRequest) -> Response[bytes]:
    """End this session, and the bearer token of its sign-in."""
    database = security.services(request).database
    token, session = security.session_token(request), request.user.session
    if token is not None:
        await sessions.end(database, sessions.digest(token))
    if session is not None:
        await sessions.end(database, bytes.fromhex(session))
    answer = replies.made({"success": True})
    answer.set_cookie(security.session_cookie(request, None))
    return answer


@get("/me", guards=[security.member], responses=schemas.answers(schemas.Me, *_FAULTS))
async def me(request: AnyRequest) -> Response[bytes]:
    """One's own account and status, whatever state it is in."""
    services = security.services(request)
    body = (await services.accounts.me(request.user)).data()
    token = security.session_token(request)
    if token is not None:
        body["csrf_token"] = sessions.csrf_token(services.secret_key, token)
    return replies.made(body)


router = Router("/api/auth", tags=["accounts"], route_handlers=[sign_up, sign_in, sign_out, me])
