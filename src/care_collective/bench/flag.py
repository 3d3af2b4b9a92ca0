"""What asking the flag costs in process, at a percentage, which has to hash the member's id: alone, and as a client
of OpenFeature asks it."""

import time
from collections.abc import Callable
from typing import Any, Final, cast
from uuid import UUID

from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from care_collective.bench.report import Report, Row, at_most, failure, middle
from care_collective.rollout import policy
from care_collective.rollout.node import this_node
from care_collective.rollout.provider import RolloutProvider
from care_collective.rollout.store import FlagStore

_POLICY_MOST: Final = 2.0
_CLIENT_MOST: Final = 15.0
_ROUNDS: Final = 200
_IDS: Final = 500  # a millisecond: short enough that some rounds have a core to themselves


def measure() -> Report:
    """The rows of the policy function and of OpenFeature: the quickest round, since the machine can only slow one."""
    ids = [UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128)) for number in range(_IDS)]
    stage = policy.Stage.parse("percentage:50")
    # The environment declares the stage; memory alone is asked, so that nothing has to be behind the store.
    nothing = cast(Any, None)
    store = FlagStore(nothing, nothing, this_node(), policy.Declared(stage=stage))
    api.set_provider(RolloutProvider(store), "bench")
    client = api.get_client("bench")
    texts = [str(user_id) for user_id in ids]

    if client.get_boolean_details("messaging_v2", False, EvaluationContext(texts[0])).error_code is not None:
        raise failure("OpenFeature answered without asking the flag.")

    def alone() -> None:
        for user_id in ids:
            policy.uses_v2(stage, user_id, in_cohort=False)

    def asked() -> None:
        for text in texts:
            client.get_boolean_value("messaging_v2", False, EvaluationContext(text))

    return Report(
        [
            _row("flag: the policy function", alone, _POLICY_MOST),
            _row("flag: through OpenFeature", asked, _CLIENT_MOST),
        ]
    )


def _row(name: str, work: Callable[[], None], most: float) -> Row:
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        times.append(1e6 * (time.perf_counter() - began) / _IDS)
    return at_most(name, round(min(times), 3), most, unit="µs", median=middle(times))
