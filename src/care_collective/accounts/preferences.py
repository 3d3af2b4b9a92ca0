"""What a member chooses of their own: letters, quiet hours, new offers, language, clock, and the name they go by.

Rules and rights are in SQL (functions/preferences.sql). What the choices mean for letters and offers is said there.
"""

from typing import Annotated, Final, Literal, get_args

import msgspec

from care_collective import text
from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError

Letters = Literal["each", "daily", "off"]
Locale = Literal["en", "es"]
LETTERS: Final = get_args(Letters)
_TIME_OF_DAY: Final = msgspec.Meta(
    description="A time of day, 00:00 to 23:59", extra_json_schema={"pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
)
_PLACE: Final = msgspec.Meta(description="UTC, or a time zone by its place, such as Europe/Lisbon")


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """All of a member's preferences. Equal quiet hours are none; a null locale or time_zone is the community's."""

    email: Letters
    quiet_from: Annotated[str, _TIME_OF_DAY]
    quiet_to: Annotated[str, _TIME_OF_DAY]
    offers_paused: bool
    locale: Locale | None = None
    time_zone: Annotated[str | None, _PLACE] = None


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """How a member is known to others: name and town up to 80 characters."""

    display_name: Annotated[str, text.NAME.described]
    town: Annotated[str | None, text.TOWN.described] = None


class Preferences:
    """The caller's own preferences and profile."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, caller: Caller) -> Answer:
        """The preferences, the defaults where none were chosen."""
        return await self._database.call("public.get_preferences", caller)

    async def set(self, caller: Caller, choices: Choices) -> Answer:
        """Sets all of them. Errors: CareError `validation_error` by field."""
        return await self._database.call("public.set_preferences", caller, **_named(choices))

    async def profile(self, caller: Caller) -> Answer:
        """The name and town that others see."""
        return await self._database.call("public.get_profile", caller)

    async def set_profile(self, caller: Caller, presented: Presented) -> Answer:
        """Corrects name and town. Errors: CareError `validation_error` by field."""
        found = {
            "display_name": text.check(presented.display_name, *text.NAME),
            "town": text.check(presented.town, *text.TOWN),
        }
        fields = {name: words for name, words in found.items() if words is not None}
        if fields:
            raise CareError.invalid(**fields)
        return await self._database.call("public.set_profile", caller, **_named(presented))


def _named(arguments: Choices | Presented) -> dict[str, object]:
    return {f"p_{name}": value for name, value in msgspec.structs.asdict(arguments).items()}
