"""What a benchmark found: rows with a figure, its goal and whether it is met. Knows nothing of how figures are made."""

import os
import platform
from statistics import median
from typing import Any

import msgspec

from care_collective.errors import CareError, Code


class Row(msgspec.Struct, frozen=True):
    """One figure beside its goal. `detail` holds what it was made of."""

    name: str
    figure: float
    unit: str
    goal: str
    met: bool
    detail: dict[str, Any]


class Report(msgspec.Struct, frozen=True):
    """Rows, and tables (a list of rows by column) that explain them; `machine` is where they were measured."""

    rows: list[Row]
    tables: dict[str, list[dict[str, Any]]] = {}
    machine: dict[str, Any] = msgspec.field(
        default_factory=lambda: {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        }
    )

    @property
    def met(self) -> bool:
        """Whether every row meets its goal."""
        return all(row.met for row in self.rows)


def joined(reports: list[Report]) -> Report:
    """Several reports as one."""
    tables = {name: table for report in reports for name, table in report.tables.items()}
    return Report([row for report in reports for row in report.rows], tables)


def at_least(name: str, figure: float, bound: float, *, unit: str = "", **detail: object) -> Row:
    """A row whose figure has to reach `bound`."""
    return Row(name, figure, unit, f">= {bound:g}", figure >= bound, detail)


def at_most(name: str, figure: float, bound: float, *, unit: str = "", **detail: object) -> Row:
    """A row whose figure must not pass `bound`."""
    return Row(name, figure, unit, f"<= {bound:g}", figure <= bound, detail)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0..1) of the values do not pass; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def middle(values: list[float]) -> float:
    """The median, rounded to what a reader compares."""
    return round(median(values), 3)


def failure(words: str) -> CareError:
    """The error of a measurement that came to nothing; `words` say why."""
    return CareError(Code.SERVER_ERROR, message=words)
