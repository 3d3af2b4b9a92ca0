"""CPU time of the processes that are measured, from /proc, so that a figure also says who used the machine.

Where there is no /proc nothing is known, and rows say nothing of it.
"""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Fields of /proc/<pid>/stat behind the name (proc(5)): parent, then utime, stime, and those of children that ended.
_PARENT: Final = 1
_TIMES: Final = slice(11, 15)
_IDLE: Final = slice(3, 5)


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of CPU since their start: the database server, the site, the load's own, all of the machine's cores."""

    database: float
    site: float
    load: float
    machine: float
    at: float

    def since(self, before: "Spent") -> "Spent":
        """What was spent between; `at` is the seconds in between."""
        return Spent(
            self.database - before.database,
            self.site - before.site,
            self.load - before.load,
            self.machine - before.machine,
            self.at - before.at,
        )

    @property
    def measured(self) -> float:
        """All that was spent on what is measured."""
        return self.database + self.site + self.load

    @property
    def others(self) -> float:
        """How many cores other programs took meanwhile."""
        return max(0.0, (self.machine - self.measured) / self.at)


def known() -> bool:
    """Whether CPU time can be read here."""
    return Path("/proc/self/stat").exists()


def spent(postmaster: int, site: int | None = None) -> Spent:
    """What has been spent so far. A server's time is that of all its processes, of those that have ended too."""
    if not known():
        return Spent(0, 0, 0, 0, time.perf_counter())
    database = sum(
        _ticks(int(entry.name), of=postmaster) for entry in Path("/proc").iterdir() if entry.name.isdecimal()
    )
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    machine = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return Spent(
        database=database / _hertz(),
        site=0 if site is None else _ticks(site, of=site) / _hertz(),
        load=time.process_time() + children.ru_utime + children.ru_stime,
        machine=(sum(machine) - sum(machine[_IDLE])) / _hertz(),
        at=time.perf_counter(),
    )


def _ticks(pid: int, *, of: int) -> int:
    """The time of a process that is `of` or its child, else nothing."""
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0  # it has ended
    return sum(map(int, fields[_TIMES])) if of in {pid, int(fields[_PARENT])} else 0


def _hertz() -> int:
    return os.sysconf("SC_CLK_TCK")
