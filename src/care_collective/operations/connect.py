"""Connects to a database named by a setting and says in plain words why that fails. Shows no part of a URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from care_collective.errors import SettingsError

_CONNECT_SECONDS: Final = 10.0


async def connect(url: str, setting: str) -> asyncpg.Connection:
    """A connection for the caller to close; `setting` is named in the SettingsError that every failure becomes."""
    with in_words(setting):
        return await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings={"timezone": "UTC"})


@contextmanager
def in_words(setting: str) -> Iterator[None]:
    """Turns what the driver raises within into a SettingsError that names the setting."""
    try:
        yield
    except asyncpg.InvalidPasswordError as error:
        raise SettingsError(
            f"{setting}: {_first_line(error)}. A new care_app has no password yet: "
            "as the owner, run `alter role care_app password '…'`."
        ) from error
    except asyncpg.InvalidCatalogNameError as error:
        raise SettingsError(f"{setting}: {_first_line(error)}. Create it with encoding UTF8.") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsError(f"{setting}: its user may not do what is needed: {_first_line(error)}.") from error
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
        reason = _first_line(error) or "no answer in time"
        raise SettingsError(f"{setting}: the server cannot be reached ({reason}). Is it running there?") from error
    except asyncpg.PostgresError as error:
        raise SettingsError(f"{setting}: the database says: {_first_line(error)}.") from error
    except (asyncpg.InterfaceError, ValueError) as error:
        raise SettingsError(f"{setting}: the address does not work with this server.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".")
