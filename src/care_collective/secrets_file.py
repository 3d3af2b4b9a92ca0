"""The keys that an embedded deployment makes at its first start and keeps in secrets.env."""

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from care_collective.errors import SettingsError
from care_collective.settings import Settings, field_of, long_key

SECRETS_FILE: Final = "secrets.env"
_KEPT: Final = ("CARE_SECRET_KEY", "CARE_VAULT_KEY", "CARE_JWT_SECRET")


def keep_secrets(settings: Settings, folder: Path, *, token: Callable[[int], str] = secrets.token_urlsafe) -> Settings:
    """The settings with the keys that an embedded database needs; with another database, the settings as they are.

    A key that the environment does not give is read from secrets.env in `folder`, or made with `token(bytes)` and
    kept there (mode 0600). CARE_JWT_SECRET is one of them unless CARE_JWKS_URL is set. Two starts at once get the
    same keys. Raises SettingsError where the file cannot be read, written or understood: nothing is made anew over a
    damaged file, because contact details sealed with the old key would be lost.
    """
    wanted = [name for name in _KEPT if getattr(settings, field_of(name)) is None]
    if settings.jwks_url is not None and "CARE_JWT_SECRET" in wanted:
        wanted.remove("CARE_JWT_SECRET")
    if not settings.embedded or not wanted:
        return settings
    try:
        kept = _kept(folder, wanted, token)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{folder / SECRETS_FILE}: this user must be able to read and write it ({why})") from None
    return msgspec.structs.replace(settings, **{field_of(name): kept[name] for name in wanted})


def _kept(folder: Path, wanted: list[str], token: Callable[[int], str]) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SECRETS_FILE
    # The lock is a file of its own: a rename replaces the inode that a lock on the secrets themselves would hold.
    with os.fdopen(os.open(folder / ".secrets.lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.read_text("utf-8") if path.exists() else "# Made at the first start. Back it up with the data.\n"
        kept = _parsed(path, before)
        made = {name: token(48) for name in wanted if name not in kept}
        if made:
            end = "" if before.endswith("\n") else "\n"
            _write(path, before + end + "".join(f"{name}={value}\n" for name, value in made.items()))
        else:
            path.chmod(0o600)  # a restore or a copy can have opened it
        return kept | made


def _parsed(path: Path, text: str) -> dict[str, str]:
    # Names unknown here are passed over and stay in the file: a later release may have written them.
    kept: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        name, equals, value = line.strip().partition("=")
        if not name.startswith("#") and line.strip():
            if not equals or name in kept:
                raise SettingsError(f"{path}: line {number}: must be NAME=value, each name once")
            try:
                kept[name] = long_key(value) if name in _KEPT else value
            except ValueError as error:
                raise SettingsError(f"{path}: {name}: {error}") from None
    return kept


def _write(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)  # left by a crash: the lock is ours
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else a power cut can take the rename back
    finally:
        os.close(folder)
