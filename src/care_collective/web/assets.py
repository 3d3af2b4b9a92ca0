"""The files that pages are made of: packed once, at addresses that change with them, so that browsers keep them a year.

Read once a process: a changed file is seen after a restart. Must not know pages.
"""

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

_FOLDER: Final = Path(__file__).parent / "static"
# What every page and every live page begin with, as one file each: on a bad line every further request is felt. A
# browser that styled the page between Pico and ours would show Pico's blue for a moment.
_SETS: Final = {
    "site.css": ("vendor/pico.classless.min.css", "tokens.css", "care.css", "board.css", "parts.css", "forms.css"),
    "alive.js": ("vendor/htmx.min.js", "vendor/hx-sse.min.js", "live.js"),
}
# Ours alone: the others' first lines say whose they are. Of scripts, whole lines: what else // may be is not seen here.
_COMMENTS: Final = {".css": re.compile(r"/\*.*?\*/\s*", re.DOTALL), ".js": re.compile(r"^\s*//.*\n", re.MULTILINE)}
# Taken, and not named as what is not: `gzip;q=0` (RFC 9110, 12.5.3).
_GZIP: Final = re.compile(r"(?:^|,)\s*gzip\s*(?:$|,|;(?!\s*q=0(?:\.0*)?\s*(?:$|,)))", re.IGNORECASE)
_SMALLEST: Final = 500  # bytes that are worth packing
_YEAR: Final = "max-age=31536000, public, immutable"
_SOON: Final = "max-age=300, public"  # an address of another release, or of none


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent; its tag tells one content from another."""

    content: bytes
    media_type: str
    tag: str


def _read(name: str) -> bytes:
    path = _FOLDER / name
    if name.startswith("vendor/") or path.suffix not in _COMMENTS:
        return path.read_bytes()
    return _COMMENTS[path.suffix].sub("", path.read_text()).encode()


def _all() -> dict[str, File]:
    names = sorted(path.relative_to(_FOLDER).as_posix() for path in _FOLDER.rglob("*") if path.is_file())
    contents = {name: _read(name) for name in names}
    contents |= {name: b"\n".join(contents[part] for part in parts) for name, parts in _SETS.items()}
    return {
        name: File(content, guess_type(name)[0] or "text/plain", f'W/"{sha256(content).hexdigest()[:16]}"')
        for name, content in contents.items()
    }


FILES: Final[Mapping[str, File]] = _all()
# One for all of them: they name one another by addresses that stand beside their own.
VERSION: Final = sha256("".join(name + file.tag for name, file in FILES.items()).encode()).hexdigest()[:12]
ROOT: Final = f"/static/{VERSION}"


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(FILES[name].content, 9, mtime=0)


def _found(path: str) -> tuple[str, str]:
    """The file's name that a path asks for, and how long it may be kept. Errors: NotFoundException."""
    name = path.removeprefix("/")
    version, _, below = name.partition("/")
    if name in FILES:
        return name, _SOON
    # While a release reaches one node after another, pages of one ask for the files of the next and of the last.
    if below in FILES and re.fullmatch("[0-9a-f]{12}", version):
        return below, _YEAR if version == VERSION else _SOON
    raise NotFoundException


@get("/static/{path:path}", include_in_schema=False)
async def static(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[bytes]:
    """One file, packed for who takes that; 304 without it for who has it."""
    name, kept = _found(path)
    file = FILES[name]
    headers = {"Cache-Control": kept, "ETag": file.tag, "Vary": "Accept-Encoding"}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    content = file.content
    if len(content) >= _SMALLEST and _GZIP.search(request.headers.get("accept-encoding", "")):
        content = _packed(name)
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=file.media_type, headers=headers)
