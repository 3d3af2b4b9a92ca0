"""Finds a private PostgreSQL that another process of ours runs, so that a command can use it beside `serve`.

Starts nothing, stops nothing and writes nothing.
"""

import fcntl
import os
from pathlib import Path

from care_collective.db.embedded.server import Server
from care_collective.errors import SettingsError


def held(state_dir: Path) -> bool:
    """Whether a live process holds the lock of a state folder: it runs, starts or stops the server there.

    Errors: SettingsError where this user may not look.
    """
    try:
        handle = os.open(state_dir.expanduser().resolve() / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SettingsError(
            f"The database in {state_dir} is another user's ({error.strerror}). Run this as the user that runs `serve`."
        ) from error
    try:
        # Whoever lets go empties the file. So the lock is touched only where somebody seems to hold it: a start that
        # came while we look would be refused.
        if not os.pread(handle, 20, 0):
            return False
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def made(state_dir: Path) -> bool:
    """Whether a state folder holds data already, so that a start makes none. Errors: SettingsError as `held`."""
    data = state_dir.expanduser().resolve() / "data"
    try:
        return any(data.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SettingsError(
            f"{data} cannot be read ({error.strerror}). Run this as the user that runs `serve`."
        ) from error


def running_server(state_dir: Path) -> Server | None:
    """The server of a state folder that another process runs and that accepts connections, or None.

    An orphan, whose owner was killed, is None: the next start stops it. Errors: SettingsError as `held`.
    """
    data = state_dir.expanduser().resolve() / "data"
    try:
        # Lines of postmaster.pid (PostgreSQL's miscadmin.h): pid, data folder, start, port, socket folder, …, state.
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        version = int((data / "PG_VERSION").read_text())
    except PermissionError as error:
        raise SettingsError(f"{data} is another user's. Run this as the user that runs `serve`.") from error
    except (OSError, ValueError):
        return None
    if len(lines) < 8 or lines[7].strip() != "ready" or not held(state_dir):
        return None
    return Server(data, Path(lines[4]), int(lines[3]), version, int(lines[0]))
