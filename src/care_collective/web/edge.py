"""The outermost layer: gives each request its reference, each answer its security headers, and bounds hammering.

Plain ASGI around the whole application, so that what the router refuses passes here too.
"""

import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec
import structlog

from care_collective.errors import CareError, Code
from care_collective.web import errors, postgrest
from care_collective.web.doorkeeper import Doorkeeper
from care_collective.web.pages import rendering

# ASGI's own types, as plain mappings: the framework's are narrower than the protocol.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger("care_collective.web")

_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_NO_STORE: Final = (b"cache-control", b"no-store")


def _looked_at(scope: Scope) -> bool:
    """Whether a person looks at the answer: a browser asks for a page, outside the programs' paths."""
    wished = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept")
    return b"text/html" in wished and not errors.is_for_programs(scope["path"])


class Edge:
    """Wraps an ASGI application. `clock` answers seconds; `tls` adds HSTS; `new_id` makes references."""

    def __init__(
        self,
        app: Application,
        *,
        tls: bool = False,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._app = app
        self._headers = (*_HEADERS, (b"strict-transport-security", b"max-age=31536000")) if tls else _HEADERS
        self._clock = clock
        self._new_id = new_id
        self._doorkeeper = Doorkeeper()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._new_id()
        # The application's own state, copied: what one request adds is not seen by the next.
        only_head = scope["method"] == "HEAD"
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "only_head": only_head}
        address = scope["client"][0] if scope.get("client") else ""
        began = self._clock()
        status = 0

        # Whoever may GET may ask for the head alone; servers must know HEAD (RFC 9110, 9.1), our router does not.
        inner = {**scope, "method": "GET"} if only_head else scope

        async def sending(message: Message) -> None:
            nonlocal status
            if only_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *self._added(message, request_id)]
            await send(message)

        wait = self._doorkeeper.wait(address, began)
        if wait > 0:
            await self._refuse(scope, sending, request_id, wait)
        else:
            await self._app(inner, receive, sending)
            self._doorkeeper.note(address, status, began)
        log.info(
            "web.request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round((self._clock() - began) * 1000, 2),
            request_id=request_id,
        )

    def _added(self, message: Message, request_id: str) -> list[tuple[bytes, bytes]]:
        named = {name.lower() for name, _ in message.get("headers", [])}
        added = [header for header in self._headers if header[0] not in named]
        if b"cache-control" not in named:
            added.append(_NO_STORE)
        return [*added, (b"x-request-id", request_id.encode())]

    async def _refuse(self, scope: Scope, send: Send, request_id: str, wait: int) -> None:
        error = CareError(Code.RATE_LIMITED)
        headers = [(b"content-type", b"application/json"), (b"retry-after", str(wait).encode())]
        if scope["path"].startswith(postgrest.ROOT):
            problem = postgrest.of(error, method=scope["method"], path=scope["path"], request_id=request_id)
            content = problem.encoded()
            headers += [(name.lower().encode(), value.encode()) for name, value in postgrest.CORS.items()]
        elif _looked_at(scope):
            content = rendering.refusal_page(scope["headers"], error, retry_after=wait, request_id=request_id)
            headers[0] = (b"content-type", b"text/html; charset=utf-8")
        else:
            content = msgspec.json.encode(
                {"error": error.message, "code": error.code, "request_id": request_id, "retry_after": wait}
            )
        headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})
