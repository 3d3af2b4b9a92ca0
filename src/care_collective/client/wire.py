"""One request and its answer. Knows neither who calls nor what is tried again."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import httpx
import msgspec

from care_collective.client.errors import CareClientError, ConnectionFailed, UnreadableAnswer, from_answer
from care_collective.client.problem import Problem

Shape = TypeVar("Shape", bound=msgspec.Struct)

# The request may have arrived and the answer been lost. What is wrong with the request itself is not among them.
_BROKEN: Final = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
    httpx.DecodingError,
)
# A live stream shows a sign of life every 20 seconds.
_SILENCE_SECONDS: Final = 60.0
_JSON: Final = {"Accept": "application/json"}


class Wire:
    """Speaks to one server. `http` stays its maker's to close."""

    def __init__(self, base_url: str, http: httpx.AsyncClient) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError("base_url begins with http:// or https://")
        self._base_url = base_url.rstrip("/")
        self.http = http

    async def answer(
        self,
        method: str,
        path: str,
        shape: type[Shape],
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        also: Collection[int] = (),
    ) -> tuple[Shape, httpx.Response]:
        """Sends a request and reads its success, or an answer whose status is in `also`, as `shape`.

        `body` is sent as JSON. Errors: ConnectionFailed; UnreadableAnswer; the exception of the answer's code.
        """
        content = None if body is None else msgspec.json.encode(body)
        typed = {} if body is None else {"Content-Type": "application/json"}
        try:
            found = await self.http.request(
                method,
                self._base_url + path,
                params=params or None,
                content=content,
                headers={**_JSON, **typed, **headers},
                follow_redirects=False,
            )
        except _BROKEN as error:
            raise _broken(error) from error
        if found.status_code not in also and found.status_code >= 400:
            raise from_answer(found)
        try:
            return msgspec.json.decode(found.content, type=shape), found
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unread(found) from error

    @asynccontextmanager
    async def opened(
        self, path: str, *, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Opens a stream, whose bytes come as they are sent. Errors, within the block too: as `answer`."""
        # The pool's own wait and the connection's stay those of `http`; between two signs of life more may pass.
        times = httpx.Timeout(**{**self.http.timeout.as_dict(), "read": _SILENCE_SECONDS})
        try:
            async with self.http.stream(
                "GET",
                self._base_url + path,
                params=params or None,
                headers={"Accept": "text/event-stream", "Cache-Control": "no-store", **headers},
                timeout=times,
                follow_redirects=False,
            ) as found:
                if found.status_code >= 400:
                    await found.aread()
                    raise from_answer(found)
                if not found.headers.get("content-type", "").startswith("text/event-stream"):
                    raise _unread(found)
                yield found.aiter_bytes()
        except _BROKEN as error:
            raise _broken(error) from error


def _broken(error: Exception) -> ConnectionFailed:
    return ConnectionFailed(Problem(words=f"No whole answer came ({type(error).__name__})."))


def _unread(found: httpx.Response) -> CareClientError:
    if found.status_code >= 400:
        return from_answer(found)
    reference = found.headers.get("x-request-id")
    words = f"The answer, {found.status_code}, is not one of this API's."
    return UnreadableAnswer(Problem(words=words, status=found.status_code, request_id=reference))
