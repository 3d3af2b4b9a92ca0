"""The one door to browsers' push services: encrypts for one browser (RFC 8291), signs (RFC 8292), sends.

An endpoint is what somebody said their browser's is, so it may name anything. Only public addresses are connected to,
and the very ones that were looked at; nothing is followed elsewhere, no answer is read but its status.
"""

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from care_collective.settings import is_loopback

# For all of it, the look-up of the name too.
SEND_SECONDS: Final = 10.0
# How long a service keeps what it cannot hand over yet.
_KEPT_SECONDS: Final = 24 * 3600
# How long a signature holds; RFC 8292 allows a day.
_SIGNED_SECONDS: Final = 12 * 3600
_CONNECTIONS: Final = 50
# The order of the curve P-256.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_GLOBAL_V6: Final = IPv6Network("2000::/3")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class NotPushed(Exception):  # noqa: N818  an outcome that its callers settle
    """What a push service has not taken. `code` is short and names nobody.

    `gone`: there is no such browser any more. `for_good`: another try of this would be refused, too.
    """

    def __init__(self, code: str, *, gone: bool = False, for_good: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.gone = gone
        self.for_good = gone or for_good


class Subscription(msgspec.Struct, frozen=True):
    """A browser, as care.subscriptions_of has it."""

    id: UUID
    endpoint: str
    p256dh: str
    auth: str


def why_not_offered(base_url: str) -> str | None:
    """Why a deployment at this address offers no web push, or None."""
    parts = urlsplit(base_url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        return "Browsers take web push from https alone, and CARE_BASE_URL is not. Members are told by e-mail."
    if find_spec("pywebpush") is None:
        return "The extra for web push is not installed (docs/operators.md says how). Members are told by e-mail."
    return None


def signing_key(secret_key: str) -> ec.EllipticCurvePrivateKey:
    """The key by which browsers know this deployment, always the same one of a secret key."""
    # Longer than the order by 128 bits, so that no key is likelier than another.
    drawn = HKDF(hashes.SHA256(), length=48, salt=None, info=b"care-collective web push").derive(secret_key.encode())
    return ec.derive_private_key(int.from_bytes(drawn) % (_ORDER - 1) + 1, ec.SECP256R1())


def is_public(address: str) -> bool:
    """Whether an address is anybody's on the internet: not of this machine, of its network, nor a way into one."""
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast
    # Addresses of IPv6 that carry one of IPv4 lead wherever that does.
    tunnelled = found.ipv4_mapped or found.sixtofour or found.teredo
    return found in _GLOBAL_V6 and found.is_global and not tunnelled


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a name. Errors: OSError, UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class PushServices:
    """Sends to browsers. `contact` is where a service's operator can write to, an address of e-mail.

    Tests stand in for the network by `resolve`, `may_reach` and `tls`.
    """

    def __init__(
        self,
        secret_key: str,
        contact: str,
        *,
        resolve: Resolve = resolved,
        may_reach: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._secret = secret_key.encode()
        self._key = signing_key(secret_key)
        self._contact = f"mailto:{contact}"
        self._resolve = resolve
        self._may_reach = may_reach
        self._client = httpx.AsyncClient(
            verify=tls or True,
            timeout=SEND_SECONDS,
            trust_env=False,  # a proxy would look names up by itself
            follow_redirects=False,
            # An open line belongs to an address; the next name there may be another service's.
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=0),
        )

    @property
    def public_key(self) -> str:
        """What a browser is told when it subscribes (applicationServerKey)."""
        point = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return _base64url(point)

    async def close(self) -> None:
        """Ends what is open."""
        await self._client.aclose()

    async def send(self, to: Subscription, payload: bytes, *, topic: str, urgent: bool) -> None:
        """Sends to one browser; of one topic the newest alone is kept there. Errors: NotPushed."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                headers, body = await asyncio.to_thread(self._sealed, to, payload)
                headers |= {
                    "TTL": str(_KEPT_SECONDS),
                    "Urgency": "high" if urgent else "normal",
                    "Topic": self._veiled(f"{to.id}:{topic}"),
                }
                _judge(await self._post(to.endpoint, headers, body))
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise NotPushed("unreadable", gone=True) from error
        except TimeoutError as error:
            raise NotPushed("timed_out") from error
        except (httpx.HTTPError, OSError) as error:
            raise NotPushed("unreachable") from error

    def _sealed(self, to: Subscription, payload: bytes) -> tuple[dict[str, str], bytes]:
        """Headers and body: the words for this browser's eyes alone. Errors: ValueError for keys that are none."""
        # Here, since who has no web push need not have its libraries' weight.
        from py_vapid import Vapid
        from pywebpush import WebPusher

        pusher = WebPusher({"endpoint": to.endpoint, "keys": {"p256dh": to.p256dh, "auth": to.auth}})
        body = bytes(pusher.encode(payload)["body"])
        parts = urlsplit(to.endpoint)
        claims = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": int(time.time()) + _SIGNED_SECONDS,
            "sub": self._contact,
        }
        signed: dict[str, str] = Vapid(self._key).sign(claims)
        return {**signed, "Content-Encoding": "aes128gcm", "Content-Type": "application/octet-stream"}, body

    def _veiled(self, topic: str) -> str:
        # A service sees this: two browsers' topics tell it nothing of who writes to whom.
        return _base64url(hmac.digest(self._secret, b"push topic:" + topic.encode(), hashlib.sha256)[:24])

    async def _post(self, endpoint: str, headers: dict[str, str], body: bytes) -> int:
        url = httpx.URL(endpoint)
        host = url.raw_host.decode("ascii")
        addresses = await self._resolve(host, url.port or 443)
        if url.scheme != "https" or not addresses or not all(self._may_reach(address) for address in addresses):
            raise NotPushed("forbidden_address", gone=True)
        # To the address that was looked at: a name may be another's a moment later. The certificate is the name's.
        request = self._client.build_request(
            "POST",
            url.copy_with(host=addresses[0]),
            content=body,
            headers={**headers, "Host": url.netloc.decode()},
            extensions={"sni_hostname": host},
        )
        response = await self._client.send(request, stream=True)
        await response.aclose()  # unread: it may be as long as somebody likes
        return response.status_code


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    code = f"service_{status}"
    if status in (404, 410):
        raise NotPushed(code, gone=True)
    raise NotPushed(code, for_good=status not in (408, 425, 429) and status < 500)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
