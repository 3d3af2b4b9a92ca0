"""Who runs the server and where its files lie: the account, the folders, the lock, the words for what forbids them.

Never changes the permissions of a folder it has not made itself.
"""

import errno
import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from care_collective.errors import SettingsError

SOCKET_NAME: Final = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT: Final = 100  # bytes; the kernel allows 107 on Linux and 103 elsewhere
NO_SPACE: Final = ("No space left on device", "Disk quota exceeded")
_FULL_BELOW: Final = 1 << 20  # bytes free; with less a server can write neither its log nor its pid
_TAIL_LINES: Final = 12
_LOCK_TRIES: Final = 20  # 10 ms apart


@dataclass(frozen=True, slots=True)
class Account:
    """The user the server runs as. `switch` says that we are root and have to become that user first."""

    uid: int
    gid: int
    switch: bool

    @property
    def name(self) -> str:
        """The user's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    def may(self, path: Path, wanted: int) -> bool:
        """Whether the mode bits of `path` give this user `wanted` (4 read, 2 write, 1 pass or execute, or a sum)."""
        facts = path.stat()
        shift = 6 if facts.st_uid == self.uid else 3 if facts.st_gid == self.gid else 0
        return facts.st_mode >> shift & wanted == wanted

    def own(self, path: Path) -> None:
        """Make a folder that we have just made this user's alone, whatever the umask."""
        path.chmod(0o700)
        if self.switch:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def spawn(self, command: Sequence[str | Path], output: int) -> subprocess.Popen[bytes]:
        """Start `command` as this user, in a session of its own so that Ctrl-C in a terminal reaches only us.

        Output and errors go to `output`, a file descriptor or PIPE. The environment is empty but for the language
        of messages, which we read: neither our secrets nor somebody's PGOPTIONS reach the server.
        """
        return subprocess.Popen(  # noqa: S603  the command is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",  # our own folder may be closed to the other user
            env={"LC_ALL": "C"},
            umask=0o077,
            start_new_session=True,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A state folder that is ready for use, and the account that the server in it runs as."""

    folder: Path
    account: Account

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder; it appears complete or not at all."""
        return self.folder / "data"


@contextmanager
def plainly(folder: Path) -> Iterator[None]:
    """Turn an operating system's refusal within into a SettingsError that speaks of `folder` in plain words."""
    try:
        yield
    except OSError as error:
        raise SettingsError(_in_words(error, folder)) from error


def _in_words(error: OSError, folder: Path) -> str:
    mend = "or choose another CARE_DATA_DIR."
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return no_space(folder)
        case errno.EROFS:
            return f"The database cannot be kept in {folder}: the volume is read-only. Mount it for writing, {mend}"
        case errno.EACCES | errno.EPERM:
            user = Account(os.geteuid(), os.getegid(), switch=False).name
            return f"User {user} has no right to use {error.filename or folder}. Give it the right, {mend}"
        case errno.ENOTDIR | errno.EEXIST:
            return f"{error.filename or folder} is a file where a folder is needed. Move it away, {mend}"
        case _:
            return f"The database cannot be kept in {folder}: {error.strerror} ({error.filename}). Mend this, {mend}"


def no_space(folder: Path) -> str:
    """The words for a full volume or an exhausted quota."""
    return f"No space is left for the database in {folder}. Make room there, or choose another CARE_DATA_DIR."


def last_lines(output: bytes) -> str:
    """The end of what a program wrote, where the reason for its failure stands."""
    return "\n".join(output.decode(errors="replace").splitlines()[-_TAIL_LINES:])


def explain(failure: str, output: str, folder: Path) -> SettingsError:
    """The error for a program that gave up: what failed, and why as far as `output` or the volume tell."""
    full = any(words in output for words in NO_SPACE)
    # On a full volume the log itself may have stayed empty.
    if full or (not output.strip() and shutil.disk_usage(folder).free < _FULL_BELOW):
        return SettingsError(no_space(folder))
    return SettingsError(f"{failure} Its last words:\n{output.strip() or '(none)'}")


def prepare(state_dir: Path) -> Place:
    """Choose the account and make the state folder where it is missing (0700, as root 0711).

    Errors: SettingsError where we, or as root the server's account, cannot use the folder.
    """
    if any(ord(letter) < 32 for letter in str(state_dir)):
        # PostgreSQL keeps this path as one line of postmaster.pid.
        raise SettingsError("CARE_DATA_DIR holds a control character, such as a line break. Choose another folder.")
    with plainly(state_dir):
        folder = state_dir.expanduser().resolve()
        account = _account(folder / "data")
        if account.switch:
            _require_passage(folder, account)
        _make_folder(folder, 0o711 if account.switch else 0o700)
    return Place(folder, account)


def _account(data: Path) -> Account:
    """Ourselves; as root the owner of the data, else `postgres`, else `nobody`, since PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    with suppress(FileNotFoundError):
        owner = data.stat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid, switch=True)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise SettingsError(
        "PostgreSQL refuses to run as root, and this machine has neither a user postgres nor a user nobody. "
        "Start as an ordinary user, or set DATABASE_URL."
    )


def closed_folder(path: Path, account: Account) -> Path | None:
    """The first folder on the way to and including `path` that `account` may not pass; what is missing is open."""
    for folder in (*reversed(path.parents), path):
        with suppress(FileNotFoundError):
            if not account.may(folder, 1):
                return folder
    return None


def _require_passage(folder: Path, account: Account) -> None:
    closed = closed_folder(folder, account)
    if closed is not None:
        raise SettingsError(
            f"PostgreSQL refuses to run as root and runs as user {account.name}, who may not pass through {closed}. "
            f"Choose another CARE_DATA_DIR, such as /var/lib/care-collective, "
            f"or open the way with: chmod o+x {shlex.quote(str(closed))}"
        )


def _make_folder(path: Path, mode: int) -> None:
    if path.is_dir():
        return
    _make_folder(path.parent, mode)
    path.mkdir(mode=mode, exist_ok=True)  # another start may have been quicker; it gives the same mode
    path.chmod(mode)  # whatever the umask took


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Hold the state folder against other starts, of this process and of others, until the block ends.

    The kernel lets go of the lock when we die, and the server does not inherit it: descriptors close on exec.
    Errors: SettingsError with the pid of the process that holds it.
    """
    with plainly(place.folder):
        handle = os.open(place.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with plainly(place.folder):
            _take(handle, place.folder)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _take(handle: int, folder: Path) -> None:
    holder = "(unknown)"
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(handle, 20, 0).decode("ascii", "replace")
            if pid.isdecimal() and _alive(int(pid)):
                holder = pid
                break
            time.sleep(0.01)  # it has not written its pid yet, or only looks whether a server runs
        else:
            os.fchmod(handle, 0o600)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            return
    raise SettingsError(
        f"The database in {folder} is run by process {holder} already. "
        f"Stop that process first, or choose another CARE_DATA_DIR."
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def socket_folder(place: Place) -> Path:
    """A folder for the socket that only the account can enter: in the state folder, or where that path is too long
    or holds characters that connection strings cannot carry, a short one under /tmp.

    Errors: SettingsError if a folder of that name is somebody else's, open to others, or a link.
    """
    folder = place.folder / "run"
    awkward = not str(folder).isprintable() or set(str(folder)) & set(',"')
    if awkward or len(os.fsencode(folder / SOCKET_NAME)) >= SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(os.fsencode(place.folder)).hexdigest()[:16]
        folder = Path("/tmp") / f"care-collective-{place.account.uid}-{digest}"  # noqa: S108  checked below
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        # Looked at and left as it is: a path that others may have made is no place for chmod.
        facts = folder.lstat()
        if not (stat.S_ISDIR(facts.st_mode) and facts.st_uid == place.account.uid and facts.st_mode & 0o077 == 0):
            raise SettingsError(
                f"{folder} should be a folder that only user {place.account.name} can enter, and is not. "
                f"Somebody else may have made it. Remove it, or choose a shorter CARE_DATA_DIR."
            ) from None
        return folder
    place.account.own(folder)
    return folder
