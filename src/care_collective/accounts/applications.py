"""Who wants to join a community, for its coordinators to decide. Rights and rules are in SQL."""

from typing import Final, Literal
from uuid import UUID

from care_collective import text
from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError

Decision = Literal["approve", "reject"]
PAGE: Final = 20


class Applications:
    """The applications of the caller's community, for its coordinators."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, caller: Caller, *, waiting: bool = True, cursor: str | None = None, limit: int = PAGE
    ) -> Answer:
        """A page of those who wait for a decision, longest first, or of those not approved; `limit` 1 to 50."""
        return await self._database.call(
            "public.list_applications", caller, p_cursor=cursor, p_limit=limit, p_waiting=waiting
        )

    async def decide(self, caller: Caller, applicant_id: UUID, decision: Decision, reason: str | None = None) -> Answer:
        """Approves or rejects; the applicant reads the reason, up to 500 characters. Errors: CareError by field."""
        wrong = text.check(reason, *text.REASON)
        if wrong is not None:
            raise CareError.invalid(reason=wrong)
        return await self._database.call(
            "public.decide_application", caller, p_applicant_id=applicant_id, p_decision=decision, p_reason=reason
        )
