"""Finds a pg_dump and a pg_restore that fit a server, and runs them. No password stands on a command line."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg

from care_collective.db.embedded.binaries import wheel_folder
from care_collective.db.embedded.place import NO_SPACE
from care_collective.errors import SettingsError

_DEBIAN: Final = Path("/usr/lib/postgresql")
# From this version on pg_restore sets transaction_timeout, which older servers refuse.
_NEW_TIMEOUT: Final = 17
_ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full"})
# What libpq takes in a URL; asyncpg takes any other name for a setting of the server.
_LIBPQ: Final = re.compile(
    r"host(addr)?|port|dbname|user|passfile|channel_binding|connect_timeout|keepalives\w*|tcp_user_timeout|ssl\w+|"
    r"krbsrvname|gssencmode|target_session_attrs"
)
_PASSED_ON: Final = frozenset({"PATH", "HOME", "PGPASSWORD", "PGPASSFILE"})  # and what begins with PGSSL


@dataclass(frozen=True, slots=True)
class Tools:
    """A folder with pg_dump and pg_restore of a major version. The wheel's cannot speak TLS."""

    folder: Path
    version: int
    tls: bool

    def __str__(self) -> str:
        return f"version {self.version} in {self.folder}" + ("" if self.tls else " (without TLS)")


@dataclass(frozen=True, slots=True)
class Target:
    """A server as the programs reach it: a URL without password, the password, and whether the way is encrypted."""

    url: str
    password: str | None
    tls: bool
    version: int


async def target(url: str, connection: asyncpg.Connection) -> Target:
    """The server behind a URL, to which `connection` is open."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    query = dict(parse_qsl(parts.query))
    password = unquote(password) or query.pop("password", "")
    mode = query.get("sslmode") or os.environ.get("PGSSLMODE")
    tls = mode in _ENCRYPTED or bool(
        await connection.fetchval("select s.ssl from pg_catalog.pg_stat_ssl s where s.pid = pg_backend_pid()")
    )
    if tls and mode not in _ENCRYPTED:
        query["sslmode"] = "require"  # what the driver found encrypted does not fall back to plain text
    kept = urlencode({name: value for name, value in query.items() if _LIBPQ.fullmatch(name)}, quote_via=quote)
    clean = f"{parts.scheme}://{user}{at}{host}{parts.path}?{kept}"
    version = int(await connection.fetchval("show server_version_num")) // 10000
    return Target(clean, password or None, tls, version)


def found() -> list[Tools]:
    """Every pg_dump with its pg_restore on this machine, the oldest first."""
    tools = {version: Tools(folder, version, tls) for folder, tls, version in _candidates()}
    return [tools[version] for version in sorted(tools)]


def _candidates() -> Iterator[tuple[Path, bool, int]]:
    on_path = shutil.which("pg_dump")
    wheel = wheel_folder()
    system = sorted(_DEBIAN.glob("*/bin"))
    # Of equal versions the last stands: the system's speak TLS, and on a PATH another than theirs may be meant.
    for folder, tls in (
        *([(wheel, False)] if wheel is not None else []),
        *([(Path(on_path).parent, True)] if on_path is not None else []),
        *((folder, True) for folder in system),
    ):
        version = _version(folder)
        if version is not None:
            yield folder, tls, version


def _version(folder: Path) -> int | None:
    if not (folder / "pg_restore").is_file():
        return None
    try:
        said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    number = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    return int(number[1]) if number is not None else None


def to_dump(server: Target) -> Tools:
    """The pg_dump for a server: of its version, or the next newer. Errors: SettingsError that says what to install."""
    return _first(
        [tools for tools in found() if tools.version >= server.version and (tools.tls or not server.tls)],
        server,
        f"pg_dump of version {server.version} or newer",
    )


def to_restore(server: Target, *, written_by: int) -> Tools:
    """The pg_restore for a server and a dump of a pg_dump of version `written_by`. Errors: as `to_dump`."""
    newest = server.version if server.version < _NEW_TIMEOUT else 1 << 16
    if written_by > server.version and newest < _NEW_TIMEOUT:
        newest = _NEW_TIMEOUT - 1
    if written_by > newest:
        raise SettingsError(
            f"pg_dump of version {written_by} wrote this backup, and what that writes cannot be restored into "
            f"PostgreSQL {server.version}. Restore into PostgreSQL {max(written_by, _NEW_TIMEOUT)} or newer."
        )
    return _first(
        [tools for tools in found() if written_by <= tools.version <= newest and (tools.tls or not server.tls)],
        server,
        f"pg_restore of version {max(written_by, server.version)}",
    )


def _first(fitting: list[Tools], server: Target, wanted: str) -> Tools:
    # Of the server's own version where there is one, else the oldest.
    if fitting:
        return min(fitting, key=lambda tools: (tools.version != server.version, tools.version))
    here = ", ".join(map(str, found())) or "none"
    raise SettingsError(
        f"No fitting program is at hand: PostgreSQL {server.version}{' over TLS' if server.tls else ''} needs a "
        f"{wanted}{' that speaks TLS' if server.tls else ''}. Found: {here}. "
        f"On Debian: apt install postgresql-client-{server.version} (apt.postgresql.org has every version)."
    )


async def run(tools: Tools, program: str, *arguments: str, server: Target | None = None) -> str:
    """Runs a program to its end and answers what it printed; it ends with us. Errors: SettingsError with its words."""
    given = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith("PGSSL")}
    if server is not None:
        arguments = (*arguments, f"--dbname={server.url}", "--no-password")
        if server.password is not None:
            given["PGPASSWORD"] = server.password
    # By way of a shell: the loop that serves, uvloop's, takes no umask.
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", 'umask 077 && exec "$@"', "sh", str(tools.folder / program), *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**given, "LC_ALL": "C"},
        start_new_session=True,  # Ctrl-C in a terminal reaches only us, and we end it
    )
    try:
        out, err = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise SettingsError(_in_words(program, err.decode(errors="replace")))
    return out.decode()


def _in_words(program: str, said: str) -> str:
    if any(words in said for words in NO_SPACE):
        return "No space is left there. Make room, or name another folder."
    lines = [line.removeprefix(f"{program}: ") for line in said.splitlines() if line.strip()]
    # pg_restore says first where it was, and then why it gave up.
    lines = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines
    return f"{program} gave up: {lines[0].rstrip('.') if lines else 'it said nothing'}."
