"""A real push service for tests, over TLS, and browsers that read what it was given."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from care_collective.operations.webpush import _base64url
from harness import Person


@dataclass(frozen=True, slots=True)
class Pushed:
    """One request that a push service got."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Service:
    """A push service: what it got. `answer` is asked for the status of each path; `open` lets it answer at all."""

    port: int = 0
    got: list[Pushed] = field(default_factory=list)
    answer: Callable[[str], int] = lambda _: 201
    open: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def endpoint(self, name: str) -> str:
        """A browser's address here."""
        return f"https://127.0.0.1:{self.port}/{name}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            path = first.split()[1]
            self.got.append(Pushed(path, headers, await reader.readexactly(int(headers["content-length"]))))
            self.arrived.set()
            await self.open.wait()
            answer = f"HTTP/1.1 {self.answer(path)} So\r\nLocation: {self.endpoint('elsewhere')}\r\n"
            writer.write(f"{answer}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def push_service(tls: ssl.SSLContext) -> AsyncIterator[Service]:
    """A push service on this machine."""
    service = Service()
    service.open.set()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=tls)
    service.port = server.sockets[0].getsockname()[1]
    async with server:
        yield service


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser that has subscribed."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = field(default_factory=lambda: token_bytes(16))

    @property
    def keys(self) -> dict[str, str]:
        """What it hands out beside its address."""
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"p256dh": _base64url(point), "auth": _base64url(self.secret)}

    def read(self, pushed: Pushed) -> dict[str, Any]:
        """What it was told."""
        text = http_ece.decrypt(pushed.body, private_key=self.key, auth_secret=self.secret, version="aes128gcm")
        return json.loads(text)  # type: ignore[no-any-return]

    async def of(self, person: Person) -> "Browser":
        """Turned on by a member."""
        answer = await person.call("add_push_subscription", endpoint=self.endpoint, **self.keys)
        assert answer == {"success": True}
        return self
