"""Sends HTTP requests over kept connections and measures the answers. Bare sockets: a client costs the machine too.

Every answer has to be 2xx; anything else ends the run, since a refusal is quicker than what is measured.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from care_collective.bench.report import failure

_ANSWER_SECONDS: Final = 20.0
_PIECE: Final = 256 * 1024

Feed = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run: answers in its `seconds`, and how long each took, in seconds."""

    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


def request(method: str, path: str, token: str, *, body: str = "", key: str = "") -> bytes:
    """One HTTP request, as a program's client sends it."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {token}"]
    if key:
        lines.append(f"idempotency-key: {key}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass(slots=True)
class _Link:
    """One connection: what it waits for since `began`, and what has come of it."""

    socket: socket.socket
    began: float = 0.0
    held: bytearray = field(default_factory=bytearray)

    def answered(self) -> bool:
        """Reads what is there, and says whether the answer is whole. Errors: CareError for one that is not 2xx."""
        piece = self.socket.recv(_PIECE)
        if not piece:
            raise failure("The site closed a connection under load.")
        self.held += piece
        end = self.held.find(b"\r\n\r\n")
        if end < 0:
            return False
        place = self.held.find(b"content-length: ", 0, end)
        length = int(self.held[place + 16 : self.held.index(b"\r", place)]) if place >= 0 else 0
        if len(self.held) < end + 4 + length:
            return False
        if self.held[9:10] != b"2":
            raise failure(f"The site answered {self.held[9:12].decode()}: {self.held[end + 4 :][:300].decode()}")
        self.held.clear()
        return True


class Links:
    """Open connections to a site. Used in one thread, and closed with the block."""

    def __init__(self, host: str, port: int, number: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._links = []
        for _ in range(number):
            one = socket.create_connection((host, port), timeout=_ANSWER_SECONDS)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(one)
            self._links.append(link)
            self._selector.register(one, selectors.EVENT_READ, link)

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            link.socket.close()
        self._selector.close()

    def _answers(self, timeout: float) -> Iterator[_Link]:
        for key, _ in self._selector.select(timeout):
            if key.data.answered():
                yield key.data

    def closed_loop(self, feeds: list[Feed], seconds: float) -> Run:
        """Each connection sends its next request as soon as it has its answer. `feeds`: one for each connection."""
        began = time.perf_counter()
        end = began + seconds
        feed_of = {id(link): feed for link, feed in zip(self._links, feeds, strict=True)}
        latencies: list[float] = []
        for link in self._links:
            _send(link, next(feed_of[id(link)]))
        under_way = len(self._links)
        while under_way:
            heard = False
            for link in self._answers(_ANSWER_SECONDS):
                heard = True
                now = time.perf_counter()
                if now < end:
                    latencies.append(now - link.began)
                    _send(link, next(feed_of[id(link)]))
                else:
                    under_way -= 1
            if not heard and time.perf_counter() > end + _ANSWER_SECONDS:
                raise failure("The site stopped answering.")
        return Run(seconds, latencies)

    def open_loop(self, feed: Feed, rate: float, seconds: float, told: Callable[[float], None]) -> Run:
        """`rate` requests a second whether answers come or not; a wait for a free connection counts as latency."""
        began = time.perf_counter()
        free = deque(self._links)
        latencies: list[float] = []
        number, total = 0, int(rate * seconds)
        while len(latencies) < total:
            now = time.perf_counter()
            while free and number < total and began + number / rate <= now:
                link = free.popleft()
                _send(link, next(feed))
                link.began = began + number / rate
                number += 1
                if number % int(rate * 10) == 0:
                    told(number / rate)
            due = began + number / rate - time.perf_counter() if free and number < total else 1.0
            for link in self._answers(max(due, 0.0)):
                latencies.append(time.perf_counter() - link.began)
                free.append(link)
            if time.perf_counter() > began + seconds + _ANSWER_SECONDS:
                raise failure("The site does not keep up.")
        return Run(time.perf_counter() - began, latencies)


def _send(link: _Link, data: bytes) -> None:
    link.began = time.perf_counter()
    link.socket.sendall(data)
