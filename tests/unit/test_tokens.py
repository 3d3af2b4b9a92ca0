"""Tokens: every form of bad token against every kind of key, and how public keys are fetched."""

import asyncio
import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwe, jws
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from care_collective.accounts import jwks, tokens
from care_collective.accounts.jwks import JwksVerifier
from care_collective.accounts.tokens import Claims, Expired, OtherRole, SecretVerifier, Verifier, issue
from care_collective.errors import CareError, Code, SettingsError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
USER = uuid.UUID("0190d8a5-3f1c-7c3e-9b1a-5a1d2c3b4e5f")
COMMUNITY = uuid.UUID("6f1c2d3e-4a5b-4c6d-8e7f-0a1b2c3d4e5f")
SECRET = "a secret of more than thirty-two bytes"
GOOD: dict[str, Any] = {
    "sub": str(USER),
    "role": "authenticated",
    "aud": "authenticated",
    "iat": SECONDS,
    "nbf": SECONDS,
    "exp": SECONDS + 3600,
    "app_metadata": {"community_id": str(COMMUNITY), "provider": "email"},
}
EXPECTED = Claims(
    user_id=USER, community_id=COMMUNITY, role="authenticated", expires_at=datetime(2026, 3, 1, 13, tzinfo=UTC)
)


class AllAlgorithms(jws.JWSRegistry):
    """Signs with anything: the forger's side knows no caution."""

    def get_alg(self, name: str) -> JWSAlgModel:
        return self.algorithms[name]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_bytes(part: object) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


def raw(header: object, payload: object, sign: Callable[[bytes], bytes]) -> str:
    """A compact token of any bytes, signed over what it really says."""
    head = f"{b64(as_bytes(header))}.{b64(as_bytes(payload))}"
    return f"{head}.{b64(sign(head.encode()))}"


def hmac_sha(secret: bytes, digest: str = "sha256") -> Callable[[bytes], bytes]:
    return lambda text: hmac.new(secret, text, digest).digest()


class Issuer:
    """One way to sign: the algorithm, the private key and what is published of it."""

    def __init__(self, algorithm: str, key: Key, *, kid: str = "main", alg_in_jwk: bool = True) -> None:
        self.algorithm = algorithm
        self.key = key
        self.kid = kid
        self.header: dict[str, Any] = {"alg": algorithm, "typ": "JWT", "kid": kid}
        self.jwk: dict[str, Any] = {**key.as_dict(private=False), "kid": kid, "use": "sig"}
        if alg_in_jwk:
            self.jwk["alg"] = algorithm

    def sign(self, text: bytes, algorithm: str | None = None, key: Key | None = None) -> bytes:
        return AllAlgorithms.algorithms[algorithm or self.algorithm].sign(text, key or self.key)

    def token(self, header: object = None, payload: object = None) -> str:
        return raw(self.header if header is None else header, GOOD if payload is None else payload, self.sign)

    def claims(self, **changes: object) -> str:
        """A well-signed token whose claims differ from the good ones; a value of `...` leaves one out."""
        return self.token(payload={name: value for name, value in {**GOOD, **changes}.items() if value is not ...})

    def headed(self, **changes: object) -> str:
        """A well-signed token whose header differs; a value of `...` leaves a member out."""
        return self.token({name: value for name, value in {**self.header, **changes}.items() if value is not ...})


RSA, OTHER_RSA = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
ISSUERS = {
    "HS256": Issuer("HS256", OctKey.import_key(SECRET)),
    "RS256": Issuer("RS256", RSA),
    "ES256": Issuer("ES256", ECKey.generate_key("P-256")),
    "EdDSA": Issuer("EdDSA", OKPKey.generate_key("Ed25519")),
    "Ed25519": Issuer("Ed25519", OKPKey.generate_key("Ed25519"), alg_in_jwk=False),
}
STRANGERS: dict[str, Key] = {
    "HS256": OctKey.import_key("another secret of more than thirty-two bytes"),
    "RS256": OTHER_RSA,
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
}


class KeyServer:
    """A JWKS address on loopback that counts fetches and answers whatever it is told to."""

    def __init__(self) -> None:
        self.fetches = 0
        self.requests: list[bytes] = []
        self.status = "200 OK"
        self.body = b""
        self.headers: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.url = ""

    def publish(self, *issuers: Issuer) -> None:
        self.body = json.dumps({"keys": [issuer.jwk for issuer in issuers]}).encode()

    async def is_asked(self) -> None:
        """Wait for a fetch; a test that waits in vain fails instead of hanging."""
        async with asyncio.timeout(30):
            await self.asked.wait()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.fetches += 1
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        self.asked.set()
        await self.open.wait()
        head = [f"HTTP/1.1 {self.status}", "content-type: application/json", "connection: close", *self.headers]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + self.body)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    made = KeyServer()
    listening = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/jwks.json"
    yield made
    made.open.set()
    listening.close()


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as made:
        yield made


@pytest.fixture
async def remote(server: KeyServer, client: httpx.AsyncClient, clock: Clock) -> AsyncIterator[JwksVerifier]:
    made = JwksVerifier(server.url, client, clock)
    yield made
    await made.close()


@pytest.fixture(params=ISSUERS)
async def issuer(request: pytest.FixtureRequest) -> Issuer:
    return ISSUERS[request.param]


@pytest.fixture
async def verifier(issuer: Issuer, server: KeyServer, remote: JwksVerifier) -> Verifier:
    """The verifier that trusts this issuer, and in the case of a key set another key beside."""
    if issuer.algorithm == "HS256":
        return SecretVerifier(SECRET)
    server.publish(issuer, Issuer("RS256", OTHER_RSA, kid="beside"))
    return remote


async def refused(verifier: Verifier, token: str, now: datetime = NOW) -> None:
    with pytest.raises(CareError) as caught:
        await verifier.verify(token, now=now)
    assert caught.value.code is Code.UNAUTHENTICATED
    assert caught.value.message == "Please sign in again. Your text is kept."
    assert not caught.value.extras
    # For the door that has a word for it, a token that is well signed has a cause, which no body under /api shows.
    assert isinstance(caught.value.__cause__, Expired | OtherRole | None)
    assert caught.value.__suppress_context__


# --- the good ones ---

GOOD_FORMS: dict[str, Callable[[Issuer], str]] = {
    "plain": lambda i: i.token(),
    "audience in a list": lambda i: i.claims(aud=["other", "authenticated"]),
    "without nbf and iat": lambda i: i.claims(nbf=..., iat=...),
    "nbf within the leeway": lambda i: i.claims(nbf=SECONDS + 30),
    "iat within the leeway": lambda i: i.claims(iat=SECONDS + 30),
    "fractions of a second": lambda i: i.claims(iat=SECONDS - 0.5, nbf=SECONDS - 0.5, exp=SECONDS + 3600.0),
    "sub in capitals": lambda i: i.claims(sub=str(USER).upper()),
    "a platform's session": lambda i: i.claims(session_id=str(USER)),
    "further claims": lambda i: i.claims(email="ä@example.org", amr=[{"method": "password"}], nested={"sub": "x"}),
    "further header": lambda i: i.headed(typ="at+jwt", cat="cl_B7d4PD111AAA", nonce="x"),
    "no typ": lambda i: i.headed(typ=...),
    "embedded stranger's key, unused": lambda i: i.headed(
        jwk=STRANGERS["RS256"].as_dict(private=False), jku="https://evil.example/jwks", x5u="https://evil.example/x"
    ),
}


@pytest.mark.parametrize("form", GOOD_FORMS)
async def test_a_good_token_passes(issuer: Issuer, verifier: Verifier, form: str) -> None:
    token = GOOD_FORMS[form](issuer)
    for _ in range(2):  # the second time from memory
        assert await verifier.verify(token, now=NOW) == EXPECTED


@pytest.mark.parametrize(
    "sub",
    [
        "11111111-1111-1111-8111-111111111111",
        "22222222-2222-4222-8222-222222222222",
        "0190d8a5-3f1c-7c3e-9b1a-5a1d2c3b4e5f",
        "00000000-0000-0000-0000-000000000001",  # without version bits; whether it exists the tables say
    ],
)
async def test_a_sub_may_be_a_uuid_of_any_version(issuer: Issuer, verifier: Verifier, sub: str) -> None:
    assert (await verifier.verify(issuer.claims(sub=sub), now=NOW)).user_id == uuid.UUID(sub)


@pytest.mark.parametrize("metadata", [..., None, {}, {"community_id": None}, {"provider": "email"}])
async def test_a_token_need_not_name_a_community(issuer: Issuer, verifier: Verifier, metadata: object) -> None:
    assert (await verifier.verify(issuer.claims(app_metadata=metadata), now=NOW)).community_id is None


# --- the bad ones ---


def swapped(token: str, place: int, segment: str) -> str:
    parts = token.split(".")
    parts[place] = segment
    return ".".join(parts)


def unsigned(issuer: Issuer, name: str) -> str:
    return raw({**issuer.header, "alg": name}, GOOD, lambda _: b"")


def stranger(issuer: Issuer, **header: object) -> str:
    key = STRANGERS[issuer.header["alg"]]
    return raw({**issuer.header, **header}, GOOD, lambda text: issuer.sign(text, key=key))


def public_pem(key: RSAKey | ECKey | OKPKey) -> bytes:
    return key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed_with_published(issuer: Issuer, form: Callable[[Key], bytes]) -> str:
    """The classic: HS256 with something public as the secret."""
    key = RSA if issuer.algorithm == "HS256" else issuer.key
    return raw({**issuer.header, "alg": "HS256"}, GOOD, hmac_sha(form(key)))


def encrypted(issuer: Issuer) -> str:
    header = {"alg": "dir", "enc": "A128CBC-HS256", "kid": issuer.kid}
    return jwe.encrypt_compact(header, json.dumps(GOOD), OctKey.import_key(hashlib.sha256(SECRET.encode()).digest()))


def other_tail(token: str) -> str:
    """The same signature bytes in another spelling: unused bits of the last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelt = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    was, now = (base64.urlsafe_b64decode(text.split(".")[2] + "==") for text in (token, respelt))
    assert was == now
    return respelt


def deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def twice(good: dict[str, Any], name: str, value: object) -> bytes:
    return as_bytes(good)[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}".encode()


BAD_FORMS: dict[str, Callable[[Issuer], str]] = {
    # what is no compact token at all
    "empty": lambda i: "",
    "a dot": lambda i: ".",
    "two dots": lambda i: "..",
    "a word": lambda i: "authenticated",
    "one segment": lambda i: i.token().split(".")[0],
    "two segments": lambda i: i.token().rpartition(".")[0],
    "signature cut off": lambda i: i.token().rpartition(".")[0] + ".",
    "signature truncated": lambda i: i.token()[:-8],
    "one character less": lambda i: i.token()[:-1],
    "extra dot": lambda i: i.token() + ".",
    "extra segment": lambda i: i.token() + ".e30",
    "dot before": lambda i: "." + i.token(),
    "detached payload": lambda i: swapped(i.token(), 1, ""),
    "no header": lambda i: swapped(i.token(), 0, ""),
    "padded": lambda i: i.token() + "=",
    "padded twice": lambda i: i.token() + "==",
    "padded header": lambda i: "=.".join(i.token().split(".", 1)),
    "other spelling of the last character": lambda i: other_tail(i.token()),
    "standard alphabet": lambda i: swapped(i.token(), 2, "+/+/" * 16),
    "space before": lambda i: " " + i.token(),
    "line feed after": lambda i: i.token() + "\n",
    "space within": lambda i: i.token().replace(".", ". ", 1),
    "NUL after": lambda i: i.token() + "\0",
    "Bearer before": lambda i: "Bearer " + i.token(),
    "full-width dot": lambda i: i.token().replace(".", "\uff0e"),
    "full-width letters": lambda i: "\uff45" + i.token()[1:],
    "lone surrogate": lambda i: i.token() + "\ud800",
    "huge": lambda i: i.claims(padding="x" * 8192),
    "huge and meaningless": lambda i: "a" * 1_000_000,
    "many dots": lambda i: "." * 8192,
    "JSON serialization": lambda i: json.dumps(
        dict(zip(("protected", "payload", "signature"), i.token().split("."), strict=True))
    ),
    "encrypted": encrypted,
    "five segments of a signed one": lambda i: i.token() + ".e30.e30",
    # the header
    "header no JSON": lambda i: i.token(b"not json"),
    "header no UTF-8": lambda i: i.token(b"\xff\xfe{}"),
    "header in UTF-16": lambda i: i.token(json.dumps(i.header).encode("utf-16")),
    "header with BOM": lambda i: i.token(b"\xef\xbb\xbf" + as_bytes(i.header)),
    "header a list": lambda i: i.token([i.header]),
    "header null": lambda i: i.token(b"null"),
    "header a number": lambda i: i.token(b"1"),
    "header with a tail": lambda i: i.token(as_bytes(i.header) + b"{}"),
    "header too deep": lambda i: i.token(deep(2900)),
    "header names alg twice": lambda i: i.token(twice(i.header, "alg", i.algorithm)),
    "header names kid twice": lambda i: i.token(twice(i.header, "kid", i.kid)),
    "header with NaN": lambda i: i.token(as_bytes(i.header)[:-1] + b', "x": NaN}'),
    "none": lambda i: unsigned(i, "none"),
    "None": lambda i: unsigned(i, "None"),
    "NONE": lambda i: unsigned(i, "NONE"),
    "none, signed": lambda i: i.headed(alg="none"),
    "no alg": lambda i: i.headed(alg=...),
    "alg empty": lambda i: i.headed(alg=""),
    "alg null": lambda i: i.headed(alg=None),
    "alg a list": lambda i: i.headed(alg=[i.algorithm]),
    "alg an object": lambda i: i.headed(alg={"alg": i.algorithm}),
    "alg a number": lambda i: i.headed(alg=256),
    "alg in small letters": lambda i: i.headed(alg=i.algorithm.lower()),
    "alg of a stronger hash": lambda i: raw({**i.header, "alg": "HS512"}, GOOD, hmac_sha(SECRET.encode(), "sha512")),
    "PS256 with the RSA key": lambda i: raw(
        {**i.header, "alg": "PS256"}, GOOD, lambda text: i.sign(text, "PS256", i.key if i.key is RSA else OTHER_RSA)
    ),
    "RS512 with the RSA key": lambda i: raw(
        {**i.header, "alg": "RS512"}, GOOD, lambda text: i.sign(text, "RS512", i.key if i.key is RSA else OTHER_RSA)
    ),
    "alg of another key type": lambda i: i.headed(alg={"HS256": "RS256", "RS256": "ES256"}.get(i.algorithm, "RS256")),
    "kid of another key": lambda i: i.headed(kid="beside", alg="RS256"),
    "kid null": lambda i: i.headed(kid=None),
    "kid a number": lambda i: i.headed(kid=1),
    "kid a list": lambda i: i.headed(kid=[i.kid]),
    "kid an object": lambda i: i.headed(kid={i.kid: 1}),
    "kid true": lambda i: i.headed(kid=True),
    "crit exp": lambda i: i.headed(crit=["exp"], exp=SECONDS + 60),
    "crit empty": lambda i: i.headed(crit=[]),
    "crit null": lambda i: i.headed(crit=None),
    "crit a number": lambda i: i.headed(crit=1),
    "crit b64": lambda i: i.headed(crit=["b64"], b64=True),
    "b64 false": lambda i: i.headed(b64=False),
    "enc": lambda i: i.headed(enc="A128GCM"),
    "jku no address": lambda i: i.headed(jku="file:///etc/passwd"),
    # the signature
    "stranger's key": stranger,
    "stranger's key in jwk": lambda i: stranger(i, jwk=STRANGERS[i.algorithm].as_dict(private=False)),
    "stranger's key by jku": lambda i: stranger(i, jku="https://evil.example/jwks.json"),
    "stranger's key by x5u": lambda i: stranger(i, x5u="https://evil.example/cert.pem"),
    "HS256 with the public key's PEM": lambda i: signed_with_published(i, lambda key: public_pem(key)),  # type: ignore[arg-type]
    "HS256 with the PEM without its last line feed": lambda i: signed_with_published(
        i,
        lambda key: public_pem(key).rstrip(),  # type: ignore[arg-type]
    ),
    "HS256 with the published JWK": lambda i: signed_with_published(
        i, lambda key: json.dumps(key.as_dict(private=False)).encode()
    ),
    "HS256 with an empty secret": lambda i: raw({**i.header, "alg": "HS256"}, GOOD, hmac_sha(b"")),
    "HS256 with a longer secret": lambda i: raw({**i.header, "alg": "HS256"}, GOOD, hmac_sha(SECRET.encode() + b"!")),
    "empty signature": lambda i: raw(i.header, GOOD, lambda _: b""),
    "signature of zeros": lambda i: raw(i.header, GOOD, lambda text: bytes(len(i.sign(text)))),
    "signature of another payload": lambda i: swapped(i.token(), 1, b64(as_bytes({**GOOD, "sub": str(COMMUNITY)}))),
    "signature twice": lambda i: raw(i.header, GOOD, lambda text: i.sign(text) * 2),
    # the payload
    "payload no JSON": lambda i: i.token(payload=b"not json"),
    "payload empty": lambda i: i.token(payload=b""),
    "payload no UTF-8": lambda i: i.token(payload=b"\xff\xfe{}"),
    "payload in UTF-16": lambda i: i.token(payload=json.dumps(GOOD).encode("utf-16")),
    "payload a list": lambda i: i.token(payload=[GOOD]),
    "payload a text": lambda i: i.token(payload=b'"x"'),
    "payload too deep": lambda i: i.token(payload=deep(2900)),
    "payload names sub twice": lambda i: i.token(payload=twice(GOOD, "sub", GOOD["sub"])),
    "payload names role twice": lambda i: i.token(payload=twice(GOOD, "role", "authenticated")),
    "community twice": lambda i: i.token(
        payload=as_bytes(GOOD).replace(b'"provider"', f'"community_id": "{USER}", "provider"'.encode())
    ),
    "a number of 5000 digits": lambda i: i.token(payload=as_bytes(GOOD)[:-1] + b', "x": ' + b"9" * 5000 + b"}"),
    # audience and role
    "no aud": lambda i: i.claims(aud=...),
    "aud null": lambda i: i.claims(aud=None),
    "aud other": lambda i: i.claims(aud="anon"),
    "aud in capitals": lambda i: i.claims(aud="Authenticated"),
    "aud contains the word": lambda i: i.claims(aud="not-authenticated"),
    "aud list of others": lambda i: i.claims(aud=["anon", "service_role"]),
    "aud empty list": lambda i: i.claims(aud=[]),
    "aud list with a number": lambda i: i.claims(aud=["authenticated", 1]),
    "aud list in a list": lambda i: i.claims(aud=[["authenticated"]]),
    "aud an object": lambda i: i.claims(aud={"authenticated": True}),
    "no role": lambda i: i.claims(role=...),
    "role null": lambda i: i.claims(role=None),
    "role empty": lambda i: i.claims(role=""),
    "role anon": lambda i: i.claims(role="anon"),
    "role service_role": lambda i: i.claims(role="service_role"),
    "role care_owner": lambda i: i.claims(role="care_owner"),
    "role with a space": lambda i: i.claims(role="authenticated "),
    "role a list": lambda i: i.claims(role=["authenticated"]),
    "role an object": lambda i: i.claims(role={"authenticated": 1}),
    # who
    "no sub": lambda i: i.claims(sub=...),
    "sub null": lambda i: i.claims(sub=None),
    "session null": lambda i: i.claims(care_session=None),
    "session no digest": lambda i: i.claims(care_session="ab" * 31 + "x1"),
    "sub empty": lambda i: i.claims(sub=""),
    "sub a name": lambda i: i.claims(sub="admin"),
    "sub a number": lambda i: i.claims(sub=USER.int),
    "sub a list": lambda i: i.claims(sub=[str(USER)]),
    "sub without hyphens": lambda i: i.claims(sub=USER.hex),
    "sub in braces": lambda i: i.claims(sub=f"{{{USER}}}"),
    "sub a urn": lambda i: i.claims(sub=USER.urn),
    "sub with a line feed": lambda i: i.claims(sub=f"{USER}\n"),
    "sub with odd hyphens": lambda i: i.claims(sub="0190d8a53-f1c-7c3e-9b1a-5a1d2c3b4e5f"),
    "sub in full-width digits": lambda i: i.claims(sub=str(USER).replace("0", "\uff10")),
    "sub a lone surrogate": lambda i: i.claims(sub="\ud800" * 36),
    "community a name": lambda i: i.claims(app_metadata={"community_id": "riverside"}),
    "community empty": lambda i: i.claims(app_metadata={"community_id": ""}),
    "community a number": lambda i: i.claims(app_metadata={"community_id": 1}),
    "community a list": lambda i: i.claims(app_metadata={"community_id": [str(COMMUNITY)]}),
    "metadata a list": lambda i: i.claims(app_metadata=[str(COMMUNITY)]),
    "metadata a text": lambda i: i.claims(app_metadata="x"),
    # when
    "no exp": lambda i: i.claims(exp=...),
    "exp null": lambda i: i.claims(exp=None),
    "exp now": lambda i: i.claims(exp=SECONDS),
    "exp a second ago": lambda i: i.claims(exp=SECONDS - 1),
    "exp a text": lambda i: i.claims(exp=str(SECONDS + 3600)),
    "exp a date": lambda i: i.claims(exp="2030-01-01T00:00:00Z"),
    "exp true": lambda i: i.claims(exp=True),
    "exp a list": lambda i: i.claims(exp=[SECONDS + 3600]),
    "exp an object": lambda i: i.claims(exp={}),
    "exp NaN": lambda i: i.claims(exp=float("nan")),
    "exp Infinity": lambda i: i.claims(exp=float("inf")),
    "exp 1e999": lambda i: i.token(payload=as_bytes(GOOD).replace(str(SECONDS + 3600).encode(), b"1e999")),
    "exp after the year 9999": lambda i: i.claims(exp=253_402_300_800),
    "exp of 400 digits": lambda i: i.claims(exp=10**400),
    "exp in milliseconds": lambda i: i.claims(exp=(SECONDS + 3600) * 1000),
    "exp negative": lambda i: i.claims(exp=-1),
    "exp hugely negative": lambda i: i.claims(exp=-(10**400)),
    "nbf past the leeway": lambda i: i.claims(nbf=SECONDS + 31),
    "nbf null": lambda i: i.claims(nbf=None),
    "nbf a text": lambda i: i.claims(nbf=str(SECONDS)),
    "nbf false": lambda i: i.claims(nbf=False),
    "nbf NaN": lambda i: i.claims(nbf=float("nan")),
    "iat past the leeway": lambda i: i.claims(iat=SECONDS + 31),
    "iat a text": lambda i: i.claims(iat=str(SECONDS)),
    "iat of 400 digits": lambda i: i.claims(iat=10**400),
}


@pytest.mark.parametrize("form", BAD_FORMS)
async def test_a_bad_token_is_unauthenticated_and_no_more_is_said(
    issuer: Issuer, verifier: Verifier, form: str
) -> None:
    assert await verifier.verify(issuer.token(), now=NOW) == EXPECTED
    bad = BAD_FORMS[form](issuer)
    for _ in range(2):
        await refused(verifier, bad)
    assert await verifier.verify(issuer.token(), now=NOW) == EXPECTED


@pytest.mark.parametrize("issuer", ["HS256", "ES256"], indirect=True)
async def test_a_header_of_any_depth_is_refused_by_both_readers(issuer: Issuer, verifier: Verifier) -> None:
    """joserfc reads the header again some frames deeper: between the two limits it raised RecursionError."""
    for depth in range(700, 1010, 1):
        token = raw(as_bytes(issuer.header)[:-1] + b', "x": ' + deep(depth) + b"}", GOOD, lambda _: b"no signature")
        await refused(verifier, token)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([*GOOD, "alg", "kid", "crit", "b64", "jwk", "jku", "x5c", "x5t", "typ", "cty", "enc", "zip"])


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(header=st.dictionaries(NAMES, JSON_VALUES), payload=st.dictionaries(NAMES, JSON_VALUES))
@pytest.mark.parametrize("name", ["HS256", "ES256"])
def test_no_signed_nonsense_raises_anything_else(name: str, header: dict[str, Any], payload: dict[str, Any]) -> None:
    issuer, verifier = ISSUERS[name], OFFLINE[name]
    assert outcome(verifier, issuer.token()) == EXPECTED
    for token in (
        issuer.token({**issuer.header, **header}),
        issuer.token(payload={**GOOD, **payload}),
        issuer.token(header, payload),
    ):
        found = outcome(verifier, token)
        assert found is Code.UNAUTHENTICATED or (isinstance(found, Claims) and found.expires_at > NOW)


def with_keys(issuer: Issuer) -> JwksVerifier:
    """A verifier that has its keys and no reason to fetch."""
    made = JwksVerifier("http://127.0.0.1:9/", httpx.AsyncClient(verify=False), lambda: 0.0, remembered=0)
    made._keys = jwks._public_keys(json.dumps({"keys": [issuer.jwk]}).encode())
    made._renewed = made._tried = 0.0
    return made


OFFLINE: dict[str, Verifier] = {
    "HS256": SecretVerifier(SECRET, remembered=0),
    "ES256": with_keys(ISSUERS["ES256"]),
}


def run(call: Any) -> Claims:  # noqa: ANN401  a coroutine, which has no public type
    """The result of a coroutine that never waits, without a loop: hypothesis calls a plain function."""
    try:
        call.send(None)
    except StopIteration as stopped:
        claims: Claims = stopped.value
        return claims
    raise AssertionError("waited")


def outcome(verifier: Verifier, token: str) -> Claims | Code:
    try:
        return run(verifier.verify(token, now=NOW))
    except CareError as error:
        return error.code


# --- memory ---


@pytest.mark.parametrize("issuer", ["HS256", "ES256"], indirect=True)
async def test_a_remembered_token_still_ends_and_still_waits_for_its_start(issuer: Issuer, verifier: Verifier) -> None:
    token = issuer.token()
    last = NOW + timedelta(seconds=3599.9)
    assert await verifier.verify(token, now=NOW) == EXPECTED
    assert await verifier.verify(token, now=last) == EXPECTED
    await refused(verifier, token, NOW - timedelta(seconds=31))
    assert await verifier.verify(token, now=NOW) == EXPECTED
    await refused(verifier, token, NOW + timedelta(seconds=3600))
    assert isinstance(verifier, tokens.BaseVerifier)
    assert not verifier._remembered


async def test_memory_is_bounded_holds_good_tokens_only_and_no_token_itself() -> None:
    issuer = ISSUERS["HS256"]
    verifier = SecretVerifier(SECRET, remembered=3)
    good = [issuer.claims(jti=number) for number in range(5)]
    for token in good:
        await verifier.verify(token, now=NOW)
        await refused(verifier, token + "A")
    assert list(verifier._remembered) == [hashlib.sha256(token.encode()).digest() for token in good[2:]]
    forgetful = SecretVerifier(SECRET, remembered=0)
    assert await forgetful.verify(good[0], now=NOW) == EXPECTED
    assert not forgetful._remembered


# --- issuing and the secret ---


async def test_an_issued_token_is_one_that_we_accept() -> None:
    token = issue(SECRET, user_id=USER, community_id=COMMUNITY, now=NOW)
    assert await SecretVerifier(SECRET).verify(token, now=NOW) == EXPECTED
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert payload == {
        "sub": str(USER),
        "role": "authenticated",
        "aud": "authenticated",
        "iat": SECONDS,
        "exp": SECONDS + 3600,
        "app_metadata": {"community_id": str(COMMUNITY)},
    }
    short = issue(SECRET, user_id=USER, community_id=None, now=NOW, lifetime_seconds=60)
    claims = await SecretVerifier(SECRET).verify(short, now=NOW + timedelta(seconds=59))
    assert claims.community_id is None
    await refused(SecretVerifier(SECRET), short, NOW + timedelta(seconds=60))
    await refused(SecretVerifier(SECRET[:-1] + "!"), token)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "x" * 31,
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
        public_pem(RSA).decode(),
        "\ud800" * 40,
    ],
)
def test_a_secret_that_is_short_or_a_key_file_stops_the_start(secret: str) -> None:
    with pytest.raises(SettingsError, match="CARE_JWT_SECRET") as caught:
        SecretVerifier(secret)
    assert not secret or secret not in str(caught.value)
    with pytest.raises(SettingsError):
        issue(secret, user_id=USER, community_id=None, now=NOW)


async def test_a_time_without_zone_is_a_mistake_of_ours() -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="aware"):
        await SecretVerifier(SECRET).verify("x", now=naive)
    with pytest.raises(ValueError, match="aware"):
        issue(SECRET, user_id=USER, community_id=None, now=naive)
    with pytest.raises(ValueError, match="lifetime_seconds"):
        issue(SECRET, user_id=USER, community_id=None, now=NOW, lifetime_seconds=0)


# --- fetching ---

OLD = Issuer("ES256", ECKey.generate_key("P-256"), kid="old")
NEW = Issuer("ES256", ECKey.generate_key("P-256"), kid="new")


async def unavailable(verifier: Verifier, token: str) -> None:
    with pytest.raises(CareError) as caught:
        await verifier.verify(token, now=NOW)
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.extras == {"retry_after": 5}


async def test_keys_are_fetched_once_at_first_use(server: KeyServer, remote: JwksVerifier) -> None:
    server.publish(OLD)
    assert server.fetches == 0
    for number in range(5):
        assert await remote.verify(OLD.claims(jti=number), now=NOW) == EXPECTED
    assert server.fetches == 1
    assert server.requests[0].startswith(b"GET /jwks.json HTTP/1.1\r\n")


async def test_what_cannot_be_ours_causes_no_fetch(server: KeyServer, remote: JwksVerifier) -> None:
    server.publish(OLD)
    for bad in ("", "x.y.z", unsigned(OLD, "none"), OLD.headed(alg="HS256"), OLD.headed(kid=1), "a" * 9000):
        await refused(remote, bad)
    assert server.fetches == 0


async def test_a_rotated_key_is_fetched_at_once_but_not_again_within_30_seconds(
    server: KeyServer, remote: JwksVerifier, clock: Clock
) -> None:
    server.publish(OLD)
    await remote.verify(OLD.token(), now=NOW)
    clock.seconds += 29.9
    server.publish(OLD, NEW)
    await refused(remote, NEW.token())
    assert server.fetches == 1
    clock.seconds += 0.1
    assert await remote.verify(NEW.token(), now=NOW) == EXPECTED
    assert await remote.verify(OLD.token(), now=NOW) == EXPECTED
    assert server.fetches == 2
    for _ in range(50):
        await refused(remote, OLD.headed(kid="nobody's"))
    assert server.fetches == 2
    clock.seconds += 30
    await refused(remote, OLD.headed(kid="nobody's"))
    assert server.fetches == 3


async def test_a_withdrawn_key_is_refused_after_ten_minutes_even_for_remembered_tokens(
    server: KeyServer, remote: JwksVerifier, clock: Clock
) -> None:
    server.publish(OLD, NEW)
    token = OLD.token()
    assert await remote.verify(token, now=NOW) == EXPECTED
    server.publish(NEW)
    clock.seconds += 599
    assert await remote.verify(token, now=NOW) == EXPECTED
    clock.seconds += 1
    await refused(remote, token)
    assert await remote.verify(NEW.token(), now=NOW) == EXPECTED
    assert server.fetches == 2


async def test_while_the_issuer_is_away_old_keys_serve_and_only_the_first_caller_waits(
    server: KeyServer, remote: JwksVerifier, clock: Clock
) -> None:
    server.publish(OLD)
    token = OLD.token()
    await remote.verify(token, now=NOW)
    server.status = "503 Service Unavailable"
    clock.seconds += 600
    assert await remote.verify(token, now=NOW) == EXPECTED
    assert server.fetches == 2
    server.open.clear()
    clock.seconds += 30
    assert run(remote.verify(token, now=NOW)) == EXPECTED  # without waiting
    server.asked.clear()
    await server.is_asked()
    assert server.fetches == 3
    server.status = "200 OK"
    server.publish(NEW)
    server.open.set()
    assert await remote.verify(NEW.token(), now=NOW) == EXPECTED  # joins the fetch under way
    assert server.fetches == 3
    await refused(remote, token)


def edited(**changes: object) -> bytes:
    jwk = {name: value for name, value in {**OLD.jwk, **changes}.items() if value is not ...}
    return json.dumps({"keys": [jwk]}).encode()


GARBAGE: dict[str, dict[str, Any]] = {
    "404": {"status": "404 Not Found"},
    "500": {"status": "500 Internal Server Error"},
    "204": {"status": "204 No Content", "body": b""},
    "redirect": {"status": "302 Found", "headers": ["location: /jwks.json"]},
    "empty": {"body": b""},
    "a page": {"body": b"<html>down for maintenance</html>"},
    "no UTF-8": {"body": b"\xff\xfe"},
    "a list": {"body": b"[]"},
    "no keys": {"body": b"{}"},
    "empty keys": {"body": b'{"keys": []}'},
    "keys an object": {"body": b'{"keys": {}}'},
    "keys twice": {"body": edited()[:-1] + b', "keys": []}'},
    "keys of other things": {"body": b'{"keys": [1, null, "x", [], {}]}'},
    "too deep": {"body": b'{"keys": ' + deep(20_000) + b"}"},
    "too large": {"body": edited()[:-1] + b" " * 65536 + b"}"},
    "compressed": {"headers": ["content-encoding: gzip"]},
    "cut short": {"headers": ["content-length: 100000"]},
    "no HTTP": {"status": "\0\0\0"},
    "private key": {"body": json.dumps({"keys": [{**OLD.key.as_dict(private=True), "kid": "old"}]}).encode()},
    "secret key": {"body": json.dumps({"keys": [{"kty": "oct", "k": b64(SECRET.encode()), "kid": "old"}]}).encode()},
    "for encryption": {"body": edited(use="enc", alg=...)},
    "not for verifying": {"body": edited(key_ops=["sign"])},
    "of another algorithm": {"body": edited(alg="ES384")},
    "alg a list": {"body": edited(alg=["ES256"])},
    "of another curve": {"body": edited(crv="P-384")},
    "curve unknown": {"body": edited(crv="P-255")},
    "curve a list": {"body": edited(crv=["P-256"])},
    "off the curve": {"body": edited(x=b64(bytes(32)))},
    "coordinate missing": {"body": edited(y=...)},
    "coordinate a number": {"body": edited(y=1)},
    "kid a number": {"body": edited(kid=1)},
    "RSA of 1024 bits": {
        "body": json.dumps({"keys": [{"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB", "kid": "old"}]}).encode()
    },
    "RSA with exponent 1": {
        "body": json.dumps({"keys": [{"kty": "RSA", "n": b64(b"\xff" * 256), "e": "AQ", "kid": "old"}]}).encode()
    },
    "Ed25519 of 5 bytes": {"body": b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAAAAA", "kid": "old"}]}'},
}


@pytest.mark.parametrize("form", GARBAGE)
async def test_a_failing_or_senseless_answer_is_unavailable_at_first_and_later_keeps_the_old_set(
    server: KeyServer, remote: JwksVerifier, clock: Clock, form: str
) -> None:
    def healthy() -> None:
        server.status, server.headers, server.body = "200 OK", [], edited()

    def broken() -> None:
        healthy()
        for name, value in GARBAGE[form].items():
            setattr(server, name, value)

    broken()
    await unavailable(remote, OLD.token())
    assert server.fetches == 1
    clock.seconds += 4.9
    await unavailable(remote, OLD.token())
    assert server.fetches == 1
    healthy()
    clock.seconds += 0.1
    assert await remote.verify(OLD.token(), now=NOW) == EXPECTED
    broken()
    clock.seconds += 30
    await refused(remote, NEW.token())
    assert server.fetches == 3
    assert await remote.verify(OLD.claims(jti="not remembered"), now=NOW) == EXPECTED


async def test_an_address_where_nobody_listens_is_unavailable(client: httpx.AsyncClient, clock: Clock) -> None:
    spare = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = spare.sockets[0].getsockname()[1]
    spare.close()
    await spare.wait_closed()
    await unavailable(JwksVerifier(f"http://127.0.0.1:{port}/", client, clock), OLD.token())


async def test_a_closed_client_is_unavailable(server: KeyServer, clock: Clock) -> None:
    client = httpx.AsyncClient(trust_env=False)
    await client.aclose()
    await unavailable(JwksVerifier(server.url, client, clock), OLD.token())


async def test_a_silent_issuer_costs_the_time_out_and_no_more(
    server: KeyServer, client: httpx.AsyncClient, clock: Clock
) -> None:
    server.publish(OLD)
    server.open.clear()
    remote = JwksVerifier(server.url, client, clock, fetch_seconds=0.05)
    async with asyncio.timeout(30):
        await unavailable(remote, OLD.token())
    assert jwks.FETCH_SECONDS == 3


async def test_a_dripping_issuer_costs_the_same(client: httpx.AsyncClient, clock: Clock) -> None:
    """Each byte comes in time for httpx, the whole never does."""
    stop = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not stop.is_set():
            writer.write(b" ")
            try:
                await asyncio.wait_for(stop.wait(), 0.01)
            except TimeoutError:
                continue
        writer.close()

    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    async with asyncio.timeout(30):
        await unavailable(JwksVerifier(url, client, clock, fetch_seconds=0.1), OLD.token())
    stop.set()
    listening.close()


async def test_many_callers_cause_one_fetch(server: KeyServer, remote: JwksVerifier, clock: Clock) -> None:
    server.publish(OLD)
    first = await asyncio.gather(*(remote.verify(OLD.claims(jti=n), now=NOW) for n in range(50)))
    assert first == [EXPECTED] * 50
    assert server.fetches == 1
    server.publish(OLD, NEW)
    clock.seconds += 30
    then = await asyncio.gather(*(remote.verify(NEW.claims(jti=n), now=NOW) for n in range(50)))
    assert then == [EXPECTED] * 50
    assert server.fetches == 2


async def test_a_caller_who_leaves_does_not_end_the_fetch_of_the_others(
    server: KeyServer, remote: JwksVerifier
) -> None:
    server.publish(OLD)
    server.open.clear()
    leaving, staying = (asyncio.create_task(remote.verify(OLD.token(), now=NOW)) for _ in range(2))
    await server.is_asked()
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    server.open.set()
    assert await staying == EXPECTED
    assert server.fetches == 1


async def test_known_keys_serve_while_an_unknown_one_is_asked_for(
    server: KeyServer, remote: JwksVerifier, clock: Clock
) -> None:
    server.publish(OLD)
    await remote.verify(OLD.token(), now=NOW)
    clock.seconds += 30
    server.open.clear()
    server.asked.clear()
    asking = asyncio.create_task(remote.verify(NEW.token(), now=NOW))
    await server.is_asked()
    assert run(remote.verify(OLD.claims(jti="fresh"), now=NOW)) == EXPECTED
    server.open.set()
    with pytest.raises(CareError, match="unauthenticated"):
        await asking


async def test_close_ends_a_fetch_under_way(server: KeyServer, remote: JwksVerifier) -> None:
    server.open.clear()
    asking = asyncio.create_task(remote.verify(OLD.token(), now=NOW))
    await server.is_asked()
    await remote.close()
    await asyncio.wait([asking])
    assert asking.cancelled()
    await remote.close()


async def test_without_kid_a_token_is_good_only_where_there_is_one_key(
    server: KeyServer, remote: JwksVerifier, clock: Clock
) -> None:
    server.body = edited(kid=...)
    assert await remote.verify(OLD.headed(kid=...), now=NOW) == EXPECTED
    await refused(remote, NEW.headed(kid=...))
    server.publish(OLD, NEW)
    clock.seconds += 600
    await refused(remote, OLD.headed(kid=...))
    assert await remote.verify(OLD.token(), now=NOW) == EXPECTED


async def test_a_set_is_used_as_far_as_it_is_usable(server: KeyServer, remote: JwksVerifier) -> None:
    server.body = json.dumps(
        {"keys": [None, {"kty": "AKP", "kid": "pq"}, {**OLD.jwk, "x": "!"}, {**OLD.jwk, "use": "enc"}, NEW.jwk]}
    ).encode()
    assert await remote.verify(NEW.token(), now=NOW) == EXPECTED
    await refused(remote, OLD.token())


async def test_keys_of_one_id_and_two_types_do_not_mix(server: KeyServer, remote: JwksVerifier) -> None:
    rsa = Issuer("RS256", RSA, kid="old")
    server.publish(rsa, OLD)
    assert await remote.verify(OLD.token(), now=NOW) == EXPECTED
    assert await remote.verify(rsa.token(), now=NOW) == EXPECTED
    await refused(remote, raw(OLD.header, GOOD, rsa.sign))


def test_an_address_of_another_kind_stops_the_start(client: httpx.AsyncClient, clock: Clock) -> None:
    for url in ("", "file:///etc/keys", "ftp://x/", "x.org/jwks", "HTTPS", "https:///x", "http://x:y/", "http://xn--/"):
        with pytest.raises(SettingsError, match="CARE_JWKS_URL"):
            JwksVerifier(url, client, clock)
