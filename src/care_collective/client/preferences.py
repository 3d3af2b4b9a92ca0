"""What a member has chosen of their own, and the name they go by."""

from care_collective.client.calls import Calls
from care_collective.client.models import Preferences as Chosen
from care_collective.client.models import PreferencesAnswer, Profile, ProfileAnswer

_PATH = "/api/messaging/preferences"
_PROFILE = "/api/me/profile"


class Preferences:
    """`client.preferences`. Every method raises CareClientError; of a write it has the `key`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def get(self) -> Chosen:
        """The caller's preferences, the defaults where none were chosen."""
        return (await self._calls.read(_PATH, PreferencesAnswer)).preferences

    async def set(
        self,
        *,
        email: str,
        quiet_from: str,
        quiet_to: str,
        offers_paused: bool,
        locale: str | None = None,
        time_zone: str | None = None,
        key: str | None = None,
    ) -> PreferencesAnswer:
        """Sets all of them. Errors: ValidationFailed by field.

        `email` each, daily or off; quiet hours as 21:00, equal ones are none; `locale` en or es and `time_zone` such as
        Europe/Lisbon, None for the community's. While `offers_paused`, the caller's requests take no new offers.
        """
        body = {
            "email": email,
            "quiet_from": quiet_from,
            "quiet_to": quiet_to,
            "offers_paused": offers_paused,
            "locale": locale,
            "time_zone": time_zone,
        }
        return await self._calls.write("PUT", _PATH, PreferencesAnswer, body=body, key=key)

    async def profile(self) -> Profile:
        """The name and town by which others know the caller."""
        return (await self._calls.read(_PROFILE, ProfileAnswer)).profile

    async def set_profile(self, display_name: str, *, town: str | None = None, key: str | None = None) -> ProfileAnswer:
        """Corrects name and town, up to 80 characters each."""
        body = {"display_name": display_name, "town": town}
        return await self._calls.write("PUT", _PROFILE, ProfileAnswer, body=body, key=key)
