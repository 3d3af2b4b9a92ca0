"""OpenFeature's way to the flags: each row of care.rollout_flags is a boolean flag, in force by its stage.

Asks memory alone. A flag that is not boolean does not exist here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn
from uuid import UUID

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, InvalidContextError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from care_collective.rollout import policy
from care_collective.rollout.store import FlagStore

_METADATA: Final = Metadata("care-collective")
# The attribute of a context that says whether the member is of the cohort, where nobody is named for it by id.
IN_COHORT: Final = "in_cohort"
# Made once: the same answer to everybody, and a microsecond less of 15.
_ON: Final = FlagResolutionDetails(True, reason=Reason.TARGETING_MATCH, variant="on")
_OFF: Final = FlagResolutionDetails(False, reason=Reason.TARGETING_MATCH, variant="off")
_CANONICAL: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RolloutProvider(AbstractProvider):
    """The provider over a store that is followed elsewhere. The targeting key is the member's id.

    Without a targeting key a flag is on when it is on for all.
    """

    def __init__(self, store: FlagStore) -> None:
        super().__init__()
        self._store = store

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return _METADATA

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Whether a flag is on for a member. Errors: OpenFeature's own for an unknown flag or a key that is no id."""
        try:
            decision = self._store.decide(flag_key)
        except KeyError:
            raise FlagNotFoundError(f"There is no flag {flag_key}.") from None
        stage = decision.stage
        key = None if evaluation_context is None else evaluation_context.targeting_key
        if key is None or evaluation_context is None:
            return _ON if policy.is_for_all(stage) else _OFF
        if _CANONICAL.fullmatch(key) is None:
            key = _canonical(key)
        if decision.cohort:
            in_cohort = UUID(key) in decision.cohort
        else:
            in_cohort = evaluation_context.attributes.get(IN_COHORT) is True
        value = policy.uses_v2(stage, key, in_cohort=in_cohort, salt=decision.salt, flag=flag_key)
        return _ON if value else _OFF

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Raises TypeMismatchError."""
        _boolean_only(flag_key)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Raises TypeMismatchError."""
        _boolean_only(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Raises TypeMismatchError."""
        _boolean_only(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Raises TypeMismatchError."""
        _boolean_only(flag_key)


def _canonical(key: str) -> str:
    try:
        return str(UUID(key))
    except ValueError:
        raise InvalidContextError("The targeting key must be a member's id.") from None


def _boolean_only(flag_key: str) -> NoReturn:
    raise TypeMismatchError(f"{flag_key} is on or off; ask for a boolean.")
