"""What is tried again, and after how long."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from care_collective.client.errors import CareClientError, ConnectionFailed

# Seconds. The pause before attempt n + 1 is drawn from 0 to FIRST * 2 ** n, and added to what the server asked for.
_FIRST: Final = 0.2
_LONGEST: Final = 30.0
# A limit that lasts longer, as a restricted member's day does, is not waited for.
_LONGEST_LIMIT: Final = 3600.0

Sleep = Callable[[float], Awaitable[None]]


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """When a call is tried again. `attempts` 1 or more; `random` answers from 0 up to 1; `sleep` takes seconds."""

    attempts: int
    wait_for_limits: bool
    sleep: Sleep
    random: Callable[[], float]

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts is 1 or more")

    def pause(self, error: CareClientError, attempt: int) -> float | None:
        """Seconds to wait after a failed attempt, counted from 1; None: no further one.

        Tried again are an answer that did not come or said 503, and a limit where that was asked for. Nothing else.
        """
        if attempt >= self.attempts:
            return None
        drawn = self.drawn(attempt)
        if isinstance(error, ConnectionFailed):
            return drawn
        asked = float(error.problem.retry_after or 0)
        if error.status == 503:
            return drawn + min(asked, _LONGEST)
        if error.status == 429 and self.wait_for_limits and asked <= _LONGEST_LIMIT:
            return drawn + asked
        return None

    def drawn(self, attempt: int) -> float:
        """Seconds at random, more of them with each failed attempt, counted from 1."""
        return self.random() * min(_FIRST * 2.0 ** min(attempt, 10), _LONGEST)
