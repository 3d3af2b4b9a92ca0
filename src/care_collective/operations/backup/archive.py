"""The form of a backup: what pg_dump wrote in its custom format, and behind it a manifest of what was in the database.

pg_restore reads up to the end of its own part, so that it opens a backup without us. Opens no database.
"""

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from care_collective import __version__
from care_collective.db.migrate import Migration, is_newer, migrations
from care_collective.errors import CareError, Code

# The end of a file: the manifest as JSON, its SHA-256, its length in 8 bytes, the mark with the form's number.
_MARK: Final = b"CARE-BACKUP-0001"
_TAIL: Final = 32 + 8 + len(_MARK)
_LONGEST_MANIFEST: Final = 1 << 20  # bytes
_DUMP_HEAD: Final = b"PGDMP"
_CHUNK: Final = 1 << 20


class Contents(msgspec.Struct, frozen=True):
    """How many rows a table holds, and a checksum of them that does not depend on their order."""

    rows: int
    checksum: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. `origin` tells one database from all others, a restored copy of it too.

    `server` and `tool` are the major versions of the server and of pg_dump; `migrations` checksums by version.
    """

    release: str
    made_at: datetime
    origin: str
    server: int
    tool: int
    migrations: dict[int, str]
    tables: dict[str, Contents]
    dump_bytes: int
    dump_sha256: str

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(table.rows for table in self.tables.values())


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup that is whole: every byte of it is as it was written. `sha256` is the whole file's."""

    path: Path
    manifest: Manifest
    bytes: int
    sha256: str


def refusal(words: str) -> CareError:
    """What is wrong with a backup, or with where it is to go."""
    return CareError(Code.VALIDATION_ERROR, message=words)


def seal(path: Path, manifest: Manifest) -> None:
    """Writes the manifest behind a dump and brings the file to the disk. Errors: OSError."""
    text = msgspec.json.encode(manifest)
    with path.open("ab") as file:
        file.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "big") + _MARK)
        file.flush()
        os.fsync(file.fileno())


def dump_digest(path: Path) -> tuple[int, str]:
    """The length and the SHA-256 of a dump that is not sealed yet."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def read(path: Path) -> Archive:
    """Reads all of a backup. Errors: CareError in words for one that is cut off, damaged, newer, or something else."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(len(_DUMP_HEAD))
            file.seek(max(size - _TAIL, 0))
            tail = file.read()
            if head != _DUMP_HEAD:
                raise refusal(
                    f"{path} is {'empty' if not size else 'no backup of Care Collective, but something else'}."
                )
            if len(tail) < _TAIL or not tail.endswith(_MARK[:-4] + tail[-4:]) or not tail[-4:].isdigit():
                raise refusal(
                    f"{path} is cut off, or pg_dump alone made it: the end that `care-collective backup` writes is "
                    "missing. Take another copy of it."
                )
            if not tail.endswith(_MARK):
                raise refusal(f"{path} was made by a newer release of Care Collective. Upgrade the software first.")
            return _read(path, size, tail)
    except OSError as error:
        raise refusal(f"{path} cannot be read: {error.strerror}.") from error


def _read(path: Path, size: int, tail: bytes) -> Archive:
    damaged = refusal(f"{path} is damaged: its content is not what was written. Take another copy of it.")
    length = int.from_bytes(tail[32:40], "big")
    start = size - _TAIL - length
    if length > _LONGEST_MANIFEST or start < 0:
        raise damaged
    whole = hashlib.sha256()
    with path.open("rb") as file:
        left = start
        while left and (chunk := file.read(min(left, _CHUNK))):
            whole.update(chunk)
            left -= len(chunk)
        dump = whole.hexdigest()
        text = file.read(length)
        whole.update(text + file.read())
    if hashlib.sha256(text).digest() != tail[:32]:
        raise damaged
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise damaged from error
    if (manifest.dump_bytes, manifest.dump_sha256) != (start, dump):
        raise damaged
    _require_known(path, manifest)
    return Archive(path, manifest, size, whole.hexdigest())


def _require_known(path: Path, manifest: Manifest) -> None:
    known: dict[int, Migration] = {migration.version: migration for migration in migrations()}
    if is_newer(manifest.release, __version__) or not manifest.migrations.keys() <= known.keys():
        raise refusal(
            f"{path} was made by release {manifest.release} of Care Collective, which is newer than this one "
            f"({__version__}). Upgrade the software first."
        )
    for version, checksum in manifest.migrations.items():
        if known[version].checksum != checksum:
            raise refusal(
                f"{path} was made by a development version: its migration {known[version].name} is another than this "
                "release's. Restore it with the software that made it."
            )


def in_human(size: int) -> str:
    """A size in bytes as people say it."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{size} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
