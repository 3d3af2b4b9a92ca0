"""Quiet hours by the clocks of a member's own place: over both changes of daylight saving time, to the minute."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from harness import Care

MADRID, NEW_YORK, LORD_HOWE, PHOENIX = "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "America/Phoenix"
NIGHT = (time(21), time(8))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def until(care: Care, now: datetime, zone: str | None, hours: tuple[time, time]) -> datetime | None:
    """What care.quiet_until answers."""
    found: datetime | None = await care.owner.fetchval("select care.quiet_until($1, $2, $3, $4)", now, zone, *hours)
    return found


@pytest.mark.parametrize(
    ("now", "zone", "hours", "end"),
    [
        ("2026-06-10 18:59", MADRID, NIGHT, None),
        ("2026-06-10 19:00", MADRID, NIGHT, "2026-06-11 06:00"),
        ("2026-06-11 05:59", MADRID, NIGHT, "2026-06-11 06:00"),
        ("2026-06-11 06:00", MADRID, NIGHT, None),
        ("2026-06-10 12:30", MADRID, (time(14), time(16)), "2026-06-10 14:00"),
        ("2026-06-10 14:00", MADRID, (time(14), time(16)), None),
        # A night of 23 hours, one of 25.
        ("2026-03-28 20:30", MADRID, NIGHT, "2026-03-29 06:00"),
        ("2026-10-24 19:30", MADRID, NIGHT, "2026-10-25 07:00"),
        ("2026-03-08 03:00", NEW_YORK, NIGHT, "2026-03-08 12:00"),
        ("2026-11-01 02:00", NEW_YORK, NIGHT, "2026-11-01 13:00"),
        # Half past two does not exist: the clock jumps past it at 1:00 UTC. Of Lord Howe only half an hour is missing.
        ("2026-03-28 22:00", MADRID, (time(21), time(2, 30)), "2026-03-29 01:00"),
        ("2026-03-29 01:00", MADRID, (time(21), time(2, 30)), None),
        ("2026-10-03 13:00", LORD_HOWE, (time(21), time(2, 15)), "2026-10-03 15:30"),
        ("2026-10-03 13:00", LORD_HOWE, (time(21), time(2, 45)), "2026-10-03 15:45"),
        # It exists twice: quiet ends with the first, and who is asked in between has to wait for the second.
        ("2026-10-24 22:00", MADRID, (time(21), time(2, 30)), "2026-10-25 00:30"),
        ("2026-10-25 00:45", MADRID, (time(21), time(2, 30)), None),
        ("2026-10-25 01:10", MADRID, (time(21), time(2, 30)), "2026-10-25 01:30"),
        ("2026-04-04 14:00", LORD_HOWE, NIGHT, "2026-04-04 21:30"),
        ("2026-04-04 14:00", LORD_HOWE, (time(21), time(1, 45)), "2026-04-04 14:45"),
        ("2026-03-08 05:00", PHOENIX, NIGHT, "2026-03-08 15:00"),
        ("2026-11-01 05:00", PHOENIX, NIGHT, "2026-11-01 15:00"),
        # A day that Apia never had: its morning is jumped past at midnight, when it is asked again.
        ("2011-12-30 08:00", "Pacific/Apia", NIGHT, "2011-12-30 10:00"),
        ("2011-12-30 10:00", "Pacific/Apia", NIGHT, "2011-12-30 18:00"),
        ("2026-06-10 22:00", "Nowhere/Land", NIGHT, "2026-06-11 08:00"),
        ("2026-06-10 22:00", None, NIGHT, "2026-06-11 08:00"),
        ("2026-06-10 22:00", MADRID, (time(22), time(22)), None),
        ("2026-06-10 20:00", MADRID, (time(22), time(22)), None),
        ("2026-06-10 22:00", MADRID, (time(0), time(0)), None),
    ],
)
async def test_quiet_hours_end_when_the_clock_on_the_wall_says_so(
    shared: Care, now: str, zone: str | None, hours: tuple[time, time], end: str | None
) -> None:
    assert await until(shared, utc(now), zone, hours) == (None if end is None else utc(end))


@pytest.mark.parametrize("zone", [MADRID, NEW_YORK, LORD_HOWE, PHOENIX, "Asia/Kathmandu"])
@pytest.mark.parametrize("hours", [NIGHT, (time(1), time(3)), (time(23), time(2, 20)), (time(2, 10), time(2, 50))])
async def test_every_quarter_of_an_hour_around_both_changes_agrees_with_the_clock(
    shared: Care, zone: str, hours: tuple[time, time]
) -> None:
    changes = {MADRID: ("2026-03-29", "2026-10-25"), LORD_HOWE: ("2026-04-05", "2026-10-04")}
    starts = [utc(day) - timedelta(hours=18) for day in changes.get(zone, ("2026-03-08", "2026-11-01"))]
    moments = [start + timedelta(minutes=15 * step) for start in starts for step in range(4 * 40)]
    rows = await shared.owner.fetch(
        "select n, care.quiet_until(n, $2, $3, $4) as until from unnest($1::timestamptz[]) n", moments, zone, *hours
    )
    there = ZoneInfo(zone)
    for row in rows:
        shown = row["n"].astimezone(there).time()
        quiet = hours[0] <= shown < hours[1] if hours[0] <= hours[1] else shown >= hours[0] or shown < hours[1]
        assert (row["until"] is not None) == quiet, row
        if quiet:
            # It passes the end there, and not a minute before.
            ends = row["until"].astimezone(there)
            minute_before = (row["until"] - timedelta(minutes=1)).astimezone(there)
            assert ends.time() >= hours[1] or ends.date() > minute_before.date(), row
            assert ends.time() == hours[1] or minute_before.time() < hours[1] < ends.time(), row
            assert timedelta() < row["until"] - row["n"] <= timedelta(hours=25), row
