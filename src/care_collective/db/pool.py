"""Makes the connection pool of a process. Connections run as care_app, hold no state and are never reset."""

import asyncpg

from care_collective.errors import SettingsError


async def _no_reset(connection: asyncpg.Connection) -> None:
    """Nothing to reset: every call is one statement with transaction-local settings, so a round trip is saved."""


async def make_pool(
    url: str, *, become: str | None = None, size: int = 16, statement_cache: int = 100, statement_seconds: int = 10
) -> asyncpg.Pool:
    """A pool of up to `size` connections to `url`.

    `become`: the role to take on, for a deployment that has only the owner's URL. `statement_cache` 0 is for poolers
    that share server connections. Errors: SettingsError in words when the server cannot be reached or refuses.
    """
    settings = {"timezone": "UTC", "application_name": "care-collective", "statement_timeout": f"{statement_seconds}s"}
    if become is not None:
        settings["role"] = become
    try:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            reset=_no_reset,
            server_settings=settings,
            statement_cache_size=statement_cache,
            timeout=5,
            command_timeout=statement_seconds + 5,
            max_inactive_connection_lifetime=300,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TimeoutError) as error:
        raise SettingsError(f"DATABASE_URL: the database does not let us in: {error}") from error
