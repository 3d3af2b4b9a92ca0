"""How a thread is laid out: by day, and within a day by who wrote, as its two people see it."""

from collections.abc import Iterable
from datetime import date
from itertools import groupby
from uuid import UUID

import msgspec

from care_collective.web.api.schemas import Message
from care_collective.web.pages.clock import Clock


class Group(msgspec.Struct, frozen=True):
    """Messages that one person wrote one after another."""

    mine: bool
    messages: list[Message]


class Day(msgspec.Struct, frozen=True):
    """What was written on one of the reader's days."""

    date: date
    name: str
    full: str  # its name once it is over: a page may stay open past midnight
    groups: list[Group]


def by_day(messages: Iterable[Message], reader: UUID, clock: Clock) -> list[Day]:
    """A page of messages, in their order, as days and groups."""
    return [
        Day(
            day,
            clock.day(written[0].created_at),
            clock.full_date(day),
            [Group(mine, list(group)) for mine, group in groupby(written, key=lambda one: one.sender_id == reader)],
        )
        for day, days in groupby(messages, key=lambda one: clock.local(one.created_at))
        for written in [list(days)]
    ]
