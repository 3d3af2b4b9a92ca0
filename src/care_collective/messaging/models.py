"""What the facade answers. Frozen values, no behaviour beyond turning a refusal into an error."""

from typing import Any, Literal
from uuid import UUID

import msgspec

from care_collective.errors import CareError, Code

Version = Literal["v1", "v2"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a verb: a success, or a refusal or fault as a value with its code (contract.md, codes).

    `extras` are the further members of a refusal, such as `fields`, `status` or `retry_after` (seconds).
    `replayed`: the first answer of this idempotency key, given again.
    """

    success: bool
    conversation_id: UUID | None = None
    message_id: UUID | None = None
    conversation: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None
    error: Code | None = None
    reason: str | None = None
    message: str | None = None
    version: Version | None = None
    seq: int | None = None
    has_more: bool | None = None
    replayed: bool = False
    extras: dict[str, Any] = {}

    @classmethod
    def refused(cls, error: CareError) -> "Result":
        """The result of a refusal or fault."""
        existing = error.extras.get("conversation_id")
        return cls(
            success=False,
            error=error.code,
            reason=error.reason,
            message=error.message,
            conversation_id=None if existing is None else UUID(str(existing)),
            extras=error.extras,
        )

    def raised(self) -> "Result":
        """This result when it is a success. Errors: the refusal as CareError."""
        if self.error is not None:
            raise CareError(self.error, reason=self.reason, message=self.message, **self.extras)
        return self
