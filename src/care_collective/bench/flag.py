"""What asking the flag costs in process: the policy function at a percentage, which has to hash the member's id."""

import time
from typing import Final
from uuid import UUID

from care_collective.bench.report import Report, at_most, middle
from care_collective.rollout import policy

_MOST: Final = 2.0
_IDS: Final = 500  # a millisecond: short enough that some rounds have a core to themselves


def measure(*, rounds: int = 200) -> Report:
    """The row of the policy function: the quickest round, since the machine can only slow one."""
    stage = policy.Stage.parse("percentage:50")
    ids = [UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128)) for number in range(_IDS)]
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for user_id in ids:
            policy.uses_v2(stage, user_id, in_cohort=False)
        times.append(1e6 * (time.perf_counter() - began) / _IDS)
    return Report([at_most("flag: the policy function", round(min(times), 3), _MOST, unit="µs", median=middle(times))])
