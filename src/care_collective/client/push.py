"""The browsers by which a member is told, in the place of letters."""

from care_collective.client.calls import Calls
from care_collective.client.models import Done, PushAnswer

_PATH = "/api/messaging/push"


class Push:
    """`client.push`. Every method raises CareClientError; of a write it has the `key`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(self) -> PushAnswer:
        """The caller's browsers by the SHA-256 of their endpoints, and the key to subscribe with, None for no push."""
        return await self._calls.read(_PATH, PushAnswer)

    async def add(self, endpoint: str, *, p256dh: str, auth: str, key: str | None = None) -> Done:
        """Tells the caller by this browser instead of by letters. Errors: ValidationFailed by field."""
        body = {"endpoint": endpoint, "p256dh": p256dh, "auth": auth}
        return await self._calls.write("POST", _PATH, Done, body=body, key=key)

    async def remove(self, endpoint: str, *, key: str | None = None) -> Done:
        """Tells the caller by this browser no more."""
        return await self._calls.write("DELETE", _PATH, Done, body={"endpoint": endpoint}, key=key)
