"""Runs an operator's work on the database with the owner's rights, beside `serve` where that runs."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from care_collective.cli.show import progress, run, settings

if TYPE_CHECKING:
    from care_collective.db.call import Database
    from care_collective.operations.people import Community

T = TypeVar("T")


def as_owner(work: "Callable[[Database], Awaitable[T]]") -> T:
    """Runs `work` with the owner's database and answers its result."""
    from care_collective.operations import startup

    known = settings()

    async def connected() -> T:
        with progress() as tell:
            async with startup.as_owner(known, tell=tell) as owner:
                return await work(owner)

    return run(connected())


def beside(work: "Callable[[Database], Awaitable[T]]") -> T:
    """Runs `work` on the database as it is found, whichever release it is of: a kill must not wait for `migrate`."""
    from care_collective.operations import startup

    known = settings()

    async def connected() -> T:
        with progress() as tell:
            async with startup.examined(known, any_release=True, tell=tell) as owner:
                return await work(owner)

    return run(connected())


def in_community(slug: str | None, work: "Callable[[Database, Community], Awaitable[T]]") -> T:
    """Runs `work` in the community of a slug, or in the only one."""
    from care_collective.operations.people import choose_community

    async def chosen(owner: "Database") -> T:
        return await work(owner, await choose_community(owner, slug))

    return as_owner(chosen)
