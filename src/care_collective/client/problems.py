"""Problems: tell that a conversation could not be opened or used."""

from uuid import UUID

from care_collective.client.calls import Calls
from care_collective.client.models import ProblemReported


class Problems:
    """`client.problems`. Raises CareClientError, which has the `key`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def report(
        self,
        words: str | None = None,
        *,
        conversation_id: UUID | None = None,
        help_request_id: UUID | None = None,
        code: str | None = None,
        reference: str | None = None,
        key: str | None = None,
    ) -> ProblemReported:
        """Tells of a problem, in up to 500 characters and with what an error had: its `code` and `request_id`.

        Errors: RateLimited past 5 an hour.
        """
        given = {
            "words": words,
            "conversation_id": conversation_id,
            "help_request_id": help_request_id,
            "code": code,
            "reference": reference,
        }
        body = {name: value for name, value in given.items() if value is not None}
        return await self._calls.write("POST", "/api/problems", ProblemReported, body=body, key=key)
