"""Times as one reader sees them: in their language, in their time zone, beside the present moment."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time, format_timedelta

from care_collective.web.pages.language import Language

_JUST_NOW: Final = timedelta(seconds=45)
# Past this, how long ago says less than the day.
_LONG_AGO: Final = timedelta(days=30)
# A page of a thread says the same few days and minutes again and again; a language has 1440 minutes.
_REMEMBERED: Final = 4096


def zone_of(*names: str | None) -> tzinfo:
    """The first time zone among names such as Europe/Lisbon that this machine knows; UTC where there is none."""
    for name in names:
        try:
            return ZoneInfo(name or "")
        except (KeyError, OSError, ValueError):  # no such zone, or no name that one could have
            continue
    return UTC


@lru_cache(_REMEMBERED)
def _date(day: date, form: Literal["medium", "long", "full"], locale: Locale) -> str:
    return format_date(day, form, locale=locale)


@lru_cache(_REMEMBERED)
def _minute(at: time, locale: Locale) -> str:
    return format_time(at, "short", locale=locale)


@dataclass(frozen=True, slots=True)
class Clock:
    """Says moments to one reader. Every argument of its methods knows its own zone."""

    language: Language
    zone: tzinfo
    now: datetime

    def local(self, at: datetime) -> date:
        """The reader's day of a moment."""
        return at.astimezone(self.zone).date()

    def is_recent(self, at: datetime) -> bool:
        """Whether how long ago says more than the day."""
        return self.now - at <= _LONG_AGO

    def ago(self, at: datetime) -> str:
        """How long ago: just now, 3 hours ago; after a month the day."""
        _ = self.language.catalogue.gettext
        since = self.now - at
        if since < _JUST_NOW:
            return _("just now")
        if not self.is_recent(at):
            return _date(self.local(at), "long", self.language.locale)
        return format_timedelta(-since, add_direction=True, threshold=1, locale=self.language.locale)

    def time(self, at: datetime) -> str:
        """The time of day: 14:05."""
        return _minute(at.astimezone(self.zone).time().replace(second=0, microsecond=0), self.language.locale)

    def moment(self, at: datetime) -> str:
        """Day and time in full: 22 November 2026, 14:05."""
        return f"{_date(self.local(at), 'long', self.language.locale)}, {self.time(at)}"

    def day(self, at: datetime) -> str:
        """The day: today, yesterday, or its full date."""
        _ = self.language.catalogue.gettext
        day, today = self.local(at), self.local(self.now)
        if day == today:
            return _("Today")
        if day == today - timedelta(days=1):
            return _("Yesterday")
        return self.full_date(day)

    def full_date(self, day: date) -> str:
        """A day by its full date: Sunday, 22 November 2026."""
        return _date(day, "full", self.language.locale)

    def date(self, day: date) -> str:
        """A date that is no moment, as short as a picture needs: 22 Nov."""
        return format_skeleton("MMMd", day, locale=self.language.locale)

    def brief(self, at: datetime) -> str:
        """As short as a list needs: the time today, else yesterday, else the date."""
        day, today = self.local(at), self.local(self.now)
        if day == today:
            return self.time(at)
        if day >= today - timedelta(days=1):
            return self.day(at)
        return _date(day, "medium", self.language.locale)
