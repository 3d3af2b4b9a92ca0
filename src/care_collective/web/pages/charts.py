"""Numbers as places on a picture, from 0 to 100: what the macros of templates/charts.html draw. Pure."""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import msgspec

from care_collective.rollout.kpis import Day, EngineNumbers, Kpis

DAYS: Final = 14
_STEPS: Final = 10.0


class Column(msgspec.Struct, frozen=True):
    """A day's conversations: `low` is V2's height, `high` V1's on top of it, of 100 for the busiest day."""

    day: date
    low: float
    high: float


class Span(msgspec.Struct, frozen=True):
    """A success rate with its interval, as places on a scale. All None without data."""

    engine: str
    low: float | None
    rate: float | None
    high: float | None


class Scale(msgspec.Struct, frozen=True):
    """Spans over one scale that begins at so many percent, and where the goal stands on it."""

    begins: int
    goal: float
    spans: list[Span]


class Bar(msgspec.Struct, frozen=True):
    """How long so many of 100 offers took at most: its length, None without data."""

    engine: str
    share: int
    milliseconds: float | None
    length: float | None


class Bars(msgspec.Struct, frozen=True):
    """Bars over one scale that ends at so many milliseconds, and where the limit stands on it."""

    ends: int
    limit: float
    bars: list[Bar]


def days(found: Kpis) -> list[Day]:
    """A fortnight without gaps, oldest first: a day on which nothing was opened is a day."""
    known = {day.day: day for day in found.numbers.adoption}
    last = found.numbers.until.date()
    wanted = [last - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    return [known.get(day, Day(day, 0, 0, None, 0, 0)) for day in wanted]


def columns(shown: Sequence[Day]) -> list[Column]:
    """Each day as a column."""
    most = max([day.v1 + day.v2 for day in shown] + [1])
    return [Column(day.day, 100 * day.v2 / most, 100 * day.v1 / most) for day in shown]


def success(found: Kpis, goal: float) -> Scale:
    """Both success rates over one scale, which begins low enough for their intervals and ends at 100 %."""
    engines = {"V2": found.numbers.v2, "V1": found.numbers.v1}
    lows = [engine.success_low for engine in engines.values() if engine.success_low is not None]
    begins = int(min([100 * low for low in lows] + [80.0]) // _STEPS * _STEPS)
    return Scale(begins, _place(goal, begins), [_span(name, engine, begins) for name, engine in engines.items()])


def _span(name: str, engine: EngineNumbers, begins: int) -> Span:
    rates = (engine.success_low, engine.success_rate, engine.success_high)
    return Span(name, *(None if rate is None else _place(rate, begins) for rate in rates))


def _place(rate: float, begins: int) -> float:
    return 100 * (100 * rate - begins) / (100 - begins)


def latency(found: Kpis, limit: int) -> Bars:
    """Percentiles of both engines over one scale, which goes at least to the limit."""
    engines = {"V2": found.numbers.v2, "V1": found.numbers.v1}
    times = [
        (name, share, value)
        for name, engine in engines.items()
        for share, value in ((50, engine.p50_ms), (95, engine.p95_ms), (99, engine.p99_ms))
    ]
    most = max([1.2 * limit] + [value for _, _, value in times if value is not None])
    ends = math.ceil(most / 100) * 100
    bars = [Bar(name, share, value, None if value is None else 100 * value / ends) for name, share, value in times]
    return Bars(ends, 100 * limit / ends, bars)


def level(value: float, most: float) -> float:
    """The detector's level on its way to where it trips; each step of ten is as long as the one before."""
    return max(0.0, min(100.0, 100 * math.log10(max(value, 1.0)) / math.log10(max(most, 10.0))))
