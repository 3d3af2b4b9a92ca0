"""The time zones to choose from, by region and city, in a reader's words. Must not know pages or members."""

from functools import cache
from typing import Final
from zoneinfo import available_timezones

from babel.core import get_global

from care_collective.web.pages.language import LANGUAGES
from care_collective.web.pages.language import mark as _

# By place alone, as care.is_time_zone takes them; who lives in the one town of the Arctic looks under Europe.
_REGIONS: Final = {
    "Africa": _("Africa"),
    "America": _("America"),
    "Antarctica": _("Antarctica"),
    "Asia": _("Asia"),
    "Atlantic": _("Islands in the Atlantic"),
    "Australia": _("Australia"),
    "Europe": _("Europe"),
    "Indian": _("Islands in the Indian Ocean"),
    "Pacific": _("Islands in the Pacific"),
    "Arctic": _("Europe"),
}


@cache
def zones() -> tuple[str, ...]:
    """The time zones to choose from, each once: the database takes their older names, too."""
    older = get_global("zone_aliases")
    return tuple(
        sorted(name for name in available_timezones() if name.partition("/")[0] in _REGIONS and name not in older)
    )


@cache
def by_region(code: str) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Regions and their cities by name in the language of that code: (Europa, ((Europe/London, Londres), …))."""
    language = LANGUAGES[code]
    older = {name: alias for alias, name in get_global("zone_aliases").items()}
    cities = language.locale.time_zones

    def city(zone: str) -> str:
        known = cities.get(zone, {}).get("city") or cities.get(older.get(zone, ""), {}).get("city")
        return str(known or ", ".join(reversed(zone.split("/")[1:])).replace("_", " "))

    found: dict[str, list[tuple[str, str]]] = {}
    for zone in zones():
        found.setdefault(language.say(_REGIONS[zone.partition("/")[0]]), []).append((zone, city(zone)))
    return tuple((region, tuple(sorted(found[region], key=lambda one: one[1].casefold()))) for region in sorted(found))
