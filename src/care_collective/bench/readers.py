"""Members who look at live streams, in a process of their own: what reading costs is not counted as the site's."""

import multiprocessing
import re
import resource
import selectors
import socket
import time
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

from care_collective.bench.report import failure

_ID: Final = re.compile(rb"^id: (\d+)\n", re.MULTILINE)
_OPEN_SECONDS: Final = 120.0
_PIECE: Final = 64 * 1024
_AT_ONCE: Final = 32  # first turns under way: a thousand would wait for each other longer than the site lets them


class Seen(NamedTuple):
    """A message that arrived: by which stream, its seq, and when by the machine's monotonic clock."""

    stream: int
    seq: int
    at: float


class Readers:
    """Open streams, one for each request: all have told their state once this is made. They end with the block."""

    def __init__(self, host: str, port: int, requests: list[bytes]) -> None:
        # Nothing of this process is taken over, its sockets least of all.
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_read, args=(theirs, host, port, requests), daemon=True)
        self._process.start()
        theirs.close()
        try:
            if self._heard() is not True:
                raise failure("The site refused a stream.")
        except BaseException:
            self._process.kill()
            raise

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def seen(self) -> list[Seen]:
        """What has arrived since the last time. Errors: CareError where a stream has ended."""
        self._pipe.send(None)
        found = self._heard()
        if not isinstance(found, list):
            raise failure("The site ended a stream.")
        return found

    def _heard(self) -> list[Seen] | bool:
        if not self._pipe.poll(_OPEN_SECONDS):
            raise failure(f"The streams did not answer in {_OPEN_SECONDS:.0f} s.")
        try:
            heard: list[Seen] | bool = self._pipe.recv()
        except EOFError as error:
            raise failure("The process that reads the streams has ended.") from error
        return heard


def _read(pipe: Connection, host: str, port: int, requests: list[bytes]) -> None:
    """Says True once every stream has told its state, what was seen whenever it is asked, and False at an end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    selector = selectors.DefaultSelector()
    links: list[socket.socket] = []

    def look() -> None:
        if len(links) < len(requests):
            links.append(socket.create_connection((host, port)))
            links[-1].sendall(requests[len(links) - 1])
            selector.register(links[-1], selectors.EVENT_READ, len(links) - 1)

    for _ in range(_AT_ONCE):
        look()
    selector.register(pipe, selectors.EVENT_READ, None)
    rest, opened, seen = [b""] * len(requests), set[int](), list[Seen]()
    while True:
        for key, _ in selector.select():
            number = key.data
            if number is None:
                pipe.recv()
                pipe.send(seen)
                seen = []
                continue
            piece = links[number].recv(_PIECE)
            at = time.monotonic()
            text = rest[number] + piece
            if not piece or (text.startswith(b"HTTP/") and not text.startswith(b"HTTP/1.1 200")):
                pipe.send(False)
                return
            seen += [Seen(number, int(found[1]), at) for found in _ID.finditer(text)]
            rest[number] = text[text.rfind(b"\n") + 1 :]
            if number not in opened and b"event: state" in text:
                opened.add(number)
                look()
                if len(opened) == len(requests):
                    pipe.send(True)
