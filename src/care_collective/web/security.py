"""Who calls: a session cookie with its CSRF token, or a bearer token. Guards put the caller into the request.

Rights are not judged here: every function judges its caller itself (rule 5).
"""

from typing import Any, Final, cast
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers.base import BaseRouteHandler
from litestar.types import HTTPScope

from care_collective.accounts import sessions
from care_collective.db.call import Caller
from care_collective.errors import CareError, Code
from care_collective.web.body import refusal
from care_collective.web.doorkeeper import household
from care_collective.web.services import Services

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf_token"
LONGEST_KEY: Final = 255

Connection = ASGIConnection[Any, Any, Any, Any]
AnyRequest = Request[Any, Any, Any]
# One whose caller a guard has found.
MemberRequest = Request[Caller, Any, Any]


def services(connection: Connection) -> Services:
    """The services of this application."""
    found = connection.app.state.services
    assert isinstance(found, Services)
    return found


def cookie_name(connection: Connection) -> str:
    """The session cookie's name; over TLS one that browsers accept from this host alone."""
    return "__Host-care_session" if _is_tls(connection) else "care_session"


def _is_tls(connection: Connection) -> bool:
    return services(connection).settings.base_url.startswith("https:")


def session_cookie(connection: Connection, token: str | None) -> Cookie:
    """The cookie that carries a session, or for None the one that takes it away."""
    return Cookie(
        key=cookie_name(connection),
        value=token or "",
        max_age=sessions.LIFETIME_SECONDS if token else 0,
        path="/",
        httponly=True,
        secure=_is_tls(connection),
        samesite="lax",
    )


def client_address(connection: Connection) -> str:
    """Where the caller's attempts are counted: the address, of IPv6 the network, since one household has a whole one.

    Behind a trusted proxy it is what that vouches for.
    """
    address = connection.client.host if connection.client else ""
    return household(address) or address or "unknown"


async def host_community_id(connection: Connection) -> UUID | None:
    """The community of the request's host name."""
    community = await services(connection).communities.of_host(connection.headers.get("host", ""))
    return None if community is None else community.id


def session_token(connection: Connection) -> str | None:
    """The session cookie's value, where the browser sent one."""
    return connection.cookies.get(cookie_name(connection)) or None


async def identify(connection: Connection) -> Caller:
    """Who calls, nobody included. A bearer token counts before a cookie. Errors: CareError for a bad token."""
    if "authorization" in connection.headers:
        return await by_token(connection, bearer_token(connection))
    request_id = connection.scope["state"]["request_id"]
    token = session_token(connection)
    session = await sessions.read(services(connection).database, token) if token else None
    here = await host_community_id(connection)
    # At another community's address a session is nobody's: nobody writes in one place under the other's name.
    if session is None or here not in {None, session.community_id}:
        return Caller(None, here, request_id=request_id)
    return Caller(session.user_id, session.community_id, idempotency_key(connection), request_id)


async def by_token(connection: Connection, token: str | None) -> Caller:
    """The caller that a token names. Errors: CareError for a bad one, or where none is judged."""
    verifier = services(connection).verifier
    if token is None or verifier is None:
        raise CareError(Code.UNAUTHENTICATED)
    claims = await verifier.verify(token, now=services(connection).now())
    community_id = claims.community_id or await host_community_id(connection)
    request_id = connection.scope["state"]["request_id"]
    return Caller(claims.user_id, community_id, idempotency_key(connection), request_id, claims.session)


def bearer_token(connection: Connection) -> str | None:
    """The token of the header Authorization, None for another scheme or none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def idempotency_key(connection: Connection) -> str | None:
    """The key of a write. Errors: CareError for one that breaks the rule of contract.md: without a check here, a NUL
    would make the headers unreadable for the database and the write would run as if it had no key."""
    keys = connection.headers.getall("idempotency-key", [])
    if not keys or _method(connection) in SAFE_METHODS:
        return None
    key = keys[0]
    if (
        len(keys) > 1
        or not 1 <= len(key) <= LONGEST_KEY
        or key.strip() != key
        or not (key.isascii() and key.isprintable())
    ):
        raise refusal("idempotency-key", f"Use 1 to {LONGEST_KEY} printable ASCII characters.")
    return key


def _method(connection: Connection) -> str:
    return cast(HTTPScope, connection.scope)["method"]


def check_origin(connection: Connection) -> None:
    """Refuses a form that another site sent. For the forms that have no session, hence no token, yet."""
    if connection.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise CareError(Code.PERMISSION_DENIED, reason="csrf")
    origin = connection.headers.get("origin")
    base_url = services(connection).settings.base_url
    # Every community has a host of its own. The scheme that browsers see is the base URL's, whatever a proxy speaks.
    own = {base_url, f"{base_url.partition(':')[0]}://{connection.headers.get('host', '')}"}
    if origin is not None and origin not in own:
        raise CareError(Code.PERMISSION_DENIED, reason="csrf")


def check_csrf(connection: Connection, presented: str | None) -> None:
    """Refuses a change asked for through a session cookie without that session's CSRF token."""
    token = session_token(connection)
    key = services(connection).secret_key
    if token is not None and not (presented and sessions.is_csrf_token(key, token, presented)):
        raise CareError(Code.PERMISSION_DENIED, reason="csrf")


async def anyone(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: puts the caller, or nobody, into the request."""
    connection.scope["user"] = await identify(connection)


async def member(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard of the API: signed in, and for a change through a cookie its CSRF token. Errors: CareError."""
    caller = await identify(connection)
    if caller.user_id is None:
        raise CareError(Code.UNAUTHENTICATED)
    if _method(connection) not in SAFE_METHODS and "authorization" not in connection.headers:
        check_csrf(connection, connection.headers.get(CSRF_HEADER))
    connection.scope["user"] = caller
