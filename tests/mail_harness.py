"""A real mail server for tests: it keeps what it takes, and refuses, cuts off and asks for passwords as it is told."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "care@example.org", "a mail password: %@/"


@dataclass  # without slots: aiosmtpd looks at every member, and Python 3.11.2 stumbles over that of a slotted class
class Mailbox:
    """A mail server's handler. `answer` is asked before each message is answered: a refusal, or None to cut it off;
    421 ends the line as well.

    `unknown` are addresses that it refuses for good; `lines` counts connections that brought a message.
    """

    refusals: int = 0
    taken: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    answer: Callable[[], str | None] = lambda: "250 OK"
    lines: set[Any] = field(default_factory=set)
    over_tls: list[bool] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802  the library's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Called with each recipient."""
        if address in self.unknown:
            return "550 No such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called with each message."""
        if self.refusals:
            self.refusals -= 1
            return "451 Not now"
        message = message_from_bytes(cast(bytes, envelope.content), policy=policy.default)
        self.taken.append((list(envelope.rcpt_tos), message))
        self.lines.add(session.peer)
        self.over_tls.append(session.ssl is not None)
        answer = self.answer()
        assert isinstance(server.transport, asyncio.WriteTransport)
        if answer is None:
            server.transport.abort()
        elif answer.startswith("421"):
            asyncio.get_running_loop().call_soon(server.transport.close)
        return answer or "250 OK"

    def ids(self) -> dict[str, list[str]]:
        """The Message-IDs of what was taken, by recipient, as often as it was."""
        found: dict[str, list[str]] = {}
        for (recipient,), message in self.taken:
            found.setdefault(recipient, []).append(str(message["Message-ID"]))
        return found


def _judge(server: SMTP, session: Session, envelope: Envelope, mechanism: str, known: object) -> AuthResult:
    assert isinstance(known, LoginPassword)
    good = (known.login, known.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


class _Server(SMTP):
    """One connection; what it leaves open after a handshake that failed is closed with the server."""

    opened: list[asyncio.BaseTransport]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opened.append(transport)
        super().connection_made(transport)


@asynccontextmanager
async def mail_server(
    *, port: int = 0, tls: ssl.SSLContext | None = None, password: bool = False
) -> AsyncIterator[tuple[str, Mailbox]]:
    """The URL of a mail server on this machine, and what it takes. `tls`: it wants STARTTLS before anything else."""
    box = Mailbox()
    opened: list[asyncio.BaseTransport] = []

    def make() -> SMTP:
        with warnings.catch_warnings(action="ignore"):  # of a password without TLS, which nobody else hears here
            made = _Server(
                box,
                hostname="mail",
                tls_context=tls,
                require_starttls=tls is not None,
                authenticator=_judge if password else None,
                auth_required=password,
                auth_require_tls=tls is not None,
            )
        made.opened = opened
        return made

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port)
    async with server:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", box
        for transport in opened:
            transport.close()


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-made certificate of this machine: the context of a server that has it, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "mail.pem"
    pem = made.public_bytes(serialization.Encoding.PEM)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()) + pem)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    return serving, ssl.create_default_context(cadata=pem.decode())
