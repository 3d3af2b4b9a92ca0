"""One request and its answer. Knows neither who calls nor what is tried again."""

from collections.abc import Collection, Mapping
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
            words = f"No whole answer came ({type(error).__name__})."
            raise ConnectionFailed(Problem(words=words)) from error
        if found.status_code not in also and found.status_code >= 400:
            raise from_answer(found)
        try:
            return msgspec.json.decode(found.content, type=shape), found
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unread(found) from error


def _unread(found: httpx.Response) -> CareClientError:
    if found.status_code >= 400:
        return from_answer(found)
    reference = found.headers.get("x-request-id")
    words = f"The answer, {found.status_code}, is not one of this API's."
    return UnreadableAnswer(Problem(words=words, status=found.status_code, request_id=reference))
