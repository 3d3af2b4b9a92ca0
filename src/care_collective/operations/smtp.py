"""The one door to the mail server (CARE_SMTP_URL), for letters to members and alerts to operators alike.

Says of every failure whether another try can mend it. Knows no letter.
"""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from care_collective.settings import is_loopback

# For each step of the exchange, such as one command and its answer.
STEP_SECONDS: Final = 10.0


class NotSent(Exception):  # noqa: N818  an outcome that its callers settle
    """A message that the server has not taken, as far as we know. `code` is short and names nobody.

    `for_good`: the server refuses this recipient or message, and would again. `line_lost`: the connection is of no
    use to a next message either.
    """

    def __init__(self, code: str, *, for_good: bool = False, line_lost: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.for_good = for_good
        self.line_lost = line_lost


def mail_host(base_url: str) -> str:
    """The host that messages come from: the site's, for addresses and Message-IDs."""
    host = urlsplit(base_url).hostname or "localhost"
    return "localhost" if ":" in host else host


def address_of(mailbox: str) -> Address:
    """An address as one, whatever stands before its last @. Errors: ValueError for one that no header can hold."""
    # Part by part: read as one text, an odd address would name others, or spoil the header for all.
    local, _, domain = mailbox.rpartition("@")
    if not local or not domain or any(character.isspace() or not character.isprintable() for character in domain):
        raise ValueError("no address")
    return Address(username=local, domain=domain)


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection to the mail server."""

    _smtp: aiosmtplib.SMTP

    async def send(self, message: EmailMessage, recipients: Sequence[Address]) -> None:
        """Hands over one message. Errors: NotSent; after a lost answer the server may have taken it all the same."""
        try:
            await self._smtp.send_message(message, recipients=[one.addr_spec for one in recipients])
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [one.code for one in error.recipients]
            lost = not self._smtp.is_connected
            raise NotSent(f"recipient_{max(codes)}", for_good=min(codes) >= 500, line_lost=lost) from error
        except aiosmtplib.SMTPDataError as error:
            lost = not self._smtp.is_connected
            raise NotSent(f"message_{error.code}", for_good=error.code >= 500, line_lost=lost) from error
        except aiosmtplib.SMTPSenderRefused as error:
            raise NotSent(f"sender_{error.code}", line_lost=True) from error
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:  # an address that this server cannot be told
            raise NotSent("address_unsupported", for_good=True) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise _lost(error) from error


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server such as smtp://user:password@host:587 or smtps://…; TLS is used wherever the server offers it.

    A password goes over an encrypted line alone, unless the server is on this machine. `tls` stands in for the
    machine's own certificate authorities. `name` is what we call ourselves.
    """

    url: str
    name: str
    tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Line]:
        """An open, signed-in connection for as many messages as one likes. Errors: NotSent with `line_lost`."""
        parts = urlsplit(self.url)
        tls = parts.scheme == "smtps"
        user = unquote(parts.username) if parts.username else None
        guarded = user is not None and not is_loopback(parts.hostname or "")
        smtp = aiosmtplib.SMTP(
            hostname=parts.hostname,
            port=parts.port or (465 if tls else 587),
            username=user,
            password=unquote(parts.password) if parts.password else None,
            use_tls=tls,
            start_tls=True if guarded and not tls else None,
            tls_context=self.tls,
            local_hostname=self.name,
            timeout=STEP_SECONDS,
        )
        try:
            await smtp.connect()
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            smtp.close()
            raise _lost(error) from error
        try:
            yield Line(smtp)
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                if smtp.is_connected:
                    await smtp.quit(timeout=1)
        finally:  # without a word where the work was cancelled: the answer to one may never come
            smtp.close()


def _lost(error: Exception) -> NotSent:
    """The failure of a whole connection, named by a code."""
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            code = f"sign_in_{error.code}"
        case ssl.SSLError():
            code = "certificate"
        case aiosmtplib.SMTPResponseException():
            code = f"server_{error.code}"
        case TimeoutError():
            code = "timed_out"
        case aiosmtplib.SMTPConnectError() if isinstance(error.__cause__, ssl.SSLError):
            code = "certificate"
        case aiosmtplib.SMTPServerDisconnected():
            code = "cut_off"
        case aiosmtplib.SMTPConnectError() | OSError():
            code = "unreachable"
        case _:
            code = "not_supported"  # it offers no TLS for the password, or no signing in
    return NotSent(code, line_lost=True)
