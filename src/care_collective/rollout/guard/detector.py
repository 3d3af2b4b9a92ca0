"""The sequential detector: says after any number of attempts whether V2 fails more than it may. Rules: rollout.md.

Pure, and the only one: the live guard, the replay and the simulation all run this class.
"""

from typing import Final

import msgspec

TOLERATED: Final = 0.01
ALTERNATIVES: Final = (0.05, 0.2, 0.5, 0.95)
TRIP_LEVEL: Final = 1_000_000.0

_FAILED: Final = tuple(q / TOLERATED for q in ALTERNATIVES)
_WORKED: Final = tuple((1 - q) / (1 - TOLERATED) for q in ALTERNATIVES)
# Successes without end leave each statistic at factor / (1 - factor), their mean at 7.3: at or below this nothing is
# under way.
CALM_LEVEL: Final = 10.0
# A head start: what has just been switched on or resumed is more likely broken than what has run for weeks. It saves
# an attempt or two at the start and adds 29 of 1,000,000 to the chance of a false trip, once (docs/detector.md).
_START: Final = tuple(4 * factor / (1 - factor) for factor in _WORKED)
# Far beyond any level that decides, and one factor below what a float holds: an infinite level never falls again.
_HIGHEST: Final = 1e300
_MOST_HELPERS: Final = 100  # what a rule asks for is two; the set is stored every few seconds


class Detector(msgspec.Struct, frozen=True):
    """The state after `judged` attempts: one Shiryaev-Roberts statistic for each alternative failure rate.

    `attempts`, `codes` (failures by code) and `helpers` (who failed) tell of the rise under way: of everything since
    the first failure after the level was last calm.
    """

    levels: tuple[float, ...] = _START
    judged: int = 0
    attempts: int = 0
    codes: dict[str, int] = {}
    helpers: frozenset[str] = frozenset()

    @property
    def level(self) -> float:
        """The mean of the statistics, which trips at TRIP_LEVEL."""
        return sum(self.levels) / len(self.levels)

    @property
    def failures(self) -> int:
        """How many attempts of the rise failed."""
        return sum(self.codes.values())

    def worked(self) -> "Detector":
        """The state after one more attempt, which succeeded."""
        levels = tuple([(1 + r) * factor for r, factor in zip(self.levels, _WORKED, strict=True)])
        if not self.attempts or sum(levels) <= CALM_LEVEL * len(levels):
            return Detector(levels, self.judged + 1)
        return Detector(levels, self.judged + 1, self.attempts + 1, self.codes, self.helpers)

    def failed(self, helper: str, code: str) -> "Detector":
        """The state after one more attempt, which failed for this helper with this code."""
        levels = tuple([min((1 + r) * factor, _HIGHEST) for r, factor in zip(self.levels, _FAILED, strict=True)])
        codes = {**self.codes, code: self.codes.get(code, 0) + 1}
        helpers = self.helpers if len(self.helpers) >= _MOST_HELPERS else self.helpers | {helper}
        return Detector(levels, self.judged + 1, self.attempts + 1, codes, helpers)
