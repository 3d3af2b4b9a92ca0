"""The settings of one process and the only reader of the environment: parsed once, trimmed, strict.

Opens no connection and writes no log. No message and no repr shows the value of a secret.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast, get_args
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec

from care_collective.errors import SettingsError

KEY_RULE: Final = "must be at least 32 bytes of text"
OLD_PREFIX: Final = "NEXT_PUBLIC_"

# The one grammar of a stage. It stands here because the rollout room lies above: its `Stage.parse` uses the same two
# names, so a stage that lets a process start is one that it can read. No sign, exponent, blank or leading zero.
STAGE: Final = re.compile(r"off|internal|on|percentage:(?P<share>100(?:\.00?)?|(?:0|[1-9][0-9]?)(?:\.[0-9]{1,2})?)")
STAGE_RULE: Final = "must be off, internal, percentage:N (N from 0 to 100 in steps of 0.01, as percentage:12.5) or on"

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]


class Address(NamedTuple):
    """Where a socket listens: host name or IP address without brackets; port 0..65535, 0 being any free one."""

    host: str
    port: int


class Log(NamedTuple):
    """What is logged, and how; `auto` is console on a terminal and JSON elsewhere."""

    level: LogLevel = "info"
    format: LogFormat = "auto"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of contract.md section 5. None: not set. Made by `load`."""

    data_dir: Path
    base_url: str  # scheme, host and port as a browser's Origin header writes them
    host: str = "127.0.0.1"
    port: int = 8000
    database_url: str | None = None
    database_owner_url: str | None = None
    database_direct_url: str | None = None
    metrics_bind: Address | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    secret_key: str | None = None
    vault_key: str | None = None
    jwt_secret: str | None = None
    jwks_url: str | None = None
    smtp_url: str | None = None
    alert_url: str | None = None
    redis_url: str | None = None
    log: Log = Log()
    messaging_v2_enabled: bool | None = None
    messaging_v2_rollout: str | None = None  # matches STAGE

    @property
    def embedded(self) -> bool:
        """Whether the database is the embedded one, which we start and keep in `data_dir`."""
        return self.database_url is None

    def require_secret_key(self) -> str:
        """CARE_SECRET_KEY. Raises SettingsError where it is absent: all nodes of a database have to share one."""
        if self.secret_key is None:
            raise SettingsError(
                f"CARE_SECRET_KEY: {KEY_RULE}, the same on every node, where DATABASE_URL is set. "
                "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        return self.secret_key

    def listening_on(self, port: int) -> "Settings":
        """The same settings once port 0 has become a real one (1..65535), in a derived base URL too."""
        derived = self.base_url == _default_base_url(self.host, self.port)
        base_url = _default_base_url(self.host, port) if derived else self.base_url
        return msgspec.structs.replace(self, port=port, base_url=base_url)

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # the command line's tracebacks print this one
        hidden = {field_of(name) for name in _SECRET}
        pairs = ((field, getattr(self, field)) for field in self.__struct_fields__)
        return [(field, "…" if field in hidden and value is not None else value) for field, value in pairs]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{field}={value!r}' for field, value in self.__rich_repr__())})"


def load(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`, the environment of the process; empty and white-space-only values are absent.

    Raises SettingsError with a line for each wrong setting: its name, the rule, and the value where it is no secret.
    """
    problems = [*_strangers(environ), *_contradictions(environ)]
    values: dict[str, Any] = {}
    for name in NAMES:
        try:
            value = _value(environ, name)
        except SettingsError as error:
            problems.append(str(error))
        else:
            if value is not None:
                values[field_of(name)] = value
    if "data_dir" not in values and not problems:
        values["data_dir"] = _default_data_dir(environ)
    if problems:
        raise SettingsError("\n".join(problems))
    host, port = values.get("host", "127.0.0.1"), values.get("port", 8000)
    return Settings(**({"base_url": _default_base_url(host, port)} | values))


def _value(environ: Mapping[str, str], name: str) -> Any:  # noqa: ANN401  each setting has its own type
    given = [(spelling, text) for spelling in _spellings(name) if (text := environ.get(spelling, "").strip())]
    if not given:
        return None
    spelling, text = given[0]
    if any(other != text for _, other in given):
        raise SettingsError(f"{name} and {OLD_PREFIX}{name} are both set and differ: keep one of them")
    try:
        if not text.isprintable():  # also what was not UTF-8; urlsplit would pass over line breaks in silence
            raise ValueError("must be one line of printable UTF-8 text")
        return _READERS[name](text)
    except ValueError as error:
        shown = f" is {text!r}" if name in _PLAIN and len(text) <= 60 and "@" not in text else ""
        raise SettingsError(f"{spelling}{shown}: {error}") from None


def _strangers(environ: Mapping[str, str]) -> Iterator[str]:
    # A misspelt switch is a rollback that does not happen, so what looks like ours and is not stops the start.
    known = {spelling for name in NAMES for spelling in _spellings(name)}
    for name, value in environ.items():
        ours = name.upper() in known or name.upper().startswith(("CARE_", "MESSAGING_V2", OLD_PREFIX + "MESSAGING_V2"))
        if ours and name not in known and not name.startswith("CARE_TEST_") and not _service_link(name, value):
            near = get_close_matches(name.upper(), sorted(known), n=1)
            yield f"{name}: is not a setting; " + (f"did you mean {near[0]}?" if near else ".env.example lists them")


def _service_link(name: str, value: str) -> bool:
    # Kubernetes tells every container of every service; one named care-collective gives CARE_COLLECTIVE_PORT=tcp://…
    return re.fullmatch(r"CARE_\w*?_?(SERVICE_(HOST|PORT)\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)", name) is not None or (
        name.endswith("_PORT") and re.match("(tcp|udp|sctp)://", value) is not None
    )


def _contradictions(environ: Mapping[str, str]) -> Iterator[str]:
    given = {name for name in NAMES if environ.get(name, "").strip()}
    if {"CARE_JWT_SECRET", "CARE_JWKS_URL"} <= given:
        yield "CARE_JWT_SECRET and CARE_JWKS_URL: at most one of them may be set"
    if "DATABASE_URL" not in given:  # else a forgotten DATABASE_URL would start an empty embedded database
        for name in sorted(given & {"DATABASE_OWNER_URL", "DATABASE_DIRECT_URL"}):
            yield f"{name}: may only be set together with DATABASE_URL"


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/care-collective")
    state = environ.get("XDG_STATE_HOME", "").strip()
    home = environ.get("HOME", "").strip()
    if state.startswith("/"):  # the XDG specification has relative ones passed over
        return Path(state, "care-collective")
    if home.startswith("/"):
        return Path(home, ".local/state/care-collective")
    raise SettingsError("CARE_DATA_DIR: must be set where neither XDG_STATE_HOME nor HOME is an absolute path")


def _default_base_url(host: str, port: int) -> str:
    return _origin("http", {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104  compared only


def _origin(scheme: str, host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host.lower()
    return f"{scheme}://{shown}" + ("" if port in (None, {"http": 80, "https": 443}[scheme]) else f":{port}")


def long_key(text: str) -> str:
    """A key as it is, or ValueError with the rule."""
    if len(text.encode()) < 32:
        raise ValueError(KEY_RULE)
    return text


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false, in lower case")
    return text == "true"


def _stage(text: str) -> str:
    if not STAGE.fullmatch(text):
        raise ValueError(STAGE_RULE)
    return text


def _log(text: str) -> Log:
    level, colon, form = text.partition(":")
    if level not in get_args(LogLevel) or (colon and form not in ("console", "json")):
        raise ValueError("must be debug, info, warning or error, then :console or :json if you like, as in info:json")
    return Log(cast(LogLevel, level), cast(LogFormat, form or "auto"))


def _folder(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError("must be an absolute path; ~ is not expanded")
    return Path(text)


def _port(text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueError("must be a port number from 0 to 65535")
    return int(text)


def _host(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        # Underscores are no DNS, but container networks use them; digits and dots alone are a mistyped address.
        if not re.fullmatch(r"(?![0-9.]+$)[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", text):
            raise ValueError("must be a host name or an IP address, without scheme, brackets or port") from None
    return text


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        if bracketed != (":" in host):
            raise ValueError
        return Address(_host(host[1:-1] if bracketed else host), _port(port))
    except ValueError:
        raise ValueError("must be host:port, as in 127.0.0.1:9100 or [::1]:9100") from None


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(item.strip()) for item in text.split(","))
    except ValueError:
        raise ValueError(
            "must be IP addresses or networks with commas between, as in 10.0.0.0/8,::1 (no bits right of the mask)"
        ) from None


def _postgres_url(text: str) -> str:
    rule = "must look like postgresql://user:password@host:5432/name, special characters in the password as %XX"
    parts = _split(text, ("postgresql", "postgres"), rule)
    query = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2].split(",")  # several hosts are allowed; a socket's folder goes in ?host=
    found = [re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.%-]+)(?::([0-9]{1,5}))?", host) for host in hosts]
    host_given = all(host and int(host[2] or 0) <= 65535 for host in found) or (hosts == [""] and "host" in query)
    name_given = re.fullmatch("/[^/]+", parts.path) or (parts.path in ("", "/") and "dbname" in query)
    if not host_given or not name_given:
        raise ValueError(rule)
    return text


def _url(
    rule: str, *schemes: str, path: str = "/?", query: bool = False, http_on_loopback: bool = False
) -> Callable[[str], str]:
    def read(text: str) -> str:
        parts = _split(text, (*schemes, "http") if http_on_loopback else schemes, rule)
        host = _url_host(parts, rule)
        if not re.fullmatch(path, parts.path) or (parts.query and not query):
            raise ValueError(rule)
        if http_on_loopback and parts.scheme == "http" and not is_loopback(host):
            raise ValueError(rule)
        return text

    return read


def _base_url(text: str) -> str:
    rule = "must be http:// or https:// with a host and at most a port, no path, as in https://care.example.org"
    parts = _split(text, ("http", "https"), rule)
    host = _url_host(parts, rule)
    if "@" in parts.netloc or parts.path not in ("", "/") or "?" in text or parts.port == 0:
        raise ValueError(rule)
    return _origin(parts.scheme, host, parts.port)


def _split(text: str, schemes: tuple[str, ...], rule: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(rule) from None  # the library's own words repeat the host and the password before it
    if parts.scheme not in schemes or " " in text or "#" in text:
        raise ValueError(rule)
    return parts


def _url_host(parts: SplitResult, rule: str) -> str:
    try:
        _ = parts.port  # raises where it is none
        return _host(parts.hostname or "")
    except ValueError:
        raise ValueError(rule) from None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, which nobody else reaches."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_SECRET: Final[Mapping[str, Callable[[str], Any]]] = {
    "DATABASE_URL": _postgres_url,
    "DATABASE_OWNER_URL": _postgres_url,
    "DATABASE_DIRECT_URL": _postgres_url,
    "CARE_SECRET_KEY": long_key,
    "CARE_VAULT_KEY": long_key,
    "CARE_JWT_SECRET": long_key,
    "CARE_JWKS_URL": _url(
        "must be an https:// URL, or http:// on this machine", "https", path=".*", query=True, http_on_loopback=True
    ),
    "CARE_SMTP_URL": _url("must look like smtp://user:password@host:587 or smtps://…:465", "smtp", "smtps"),
    "CARE_ALERT_URL": _url("must be an https:// or http:// URL", "https", "http", path=".*", query=True),
    "CARE_REDIS_URL": _url("must look like redis://host:6379/0 or rediss://…", "redis", "rediss", path="(/[0-9]*)?"),
}
_PLAIN: Final[Mapping[str, Callable[[str], Any]]] = {
    "CARE_DATA_DIR": _folder,
    "CARE_HOST": _host,
    "CARE_PORT": _port,
    "CARE_BASE_URL": _base_url,
    "CARE_METRICS_BIND": _address,
    "CARE_TRUSTED_PROXIES": _networks,
    "CARE_LOG": _log,
    "MESSAGING_V2_ENABLED": _boolean,
    "MESSAGING_V2_ROLLOUT": _stage,
}
_READERS: Final[Mapping[str, Callable[[str], Any]]] = {**_SECRET, **_PLAIN}

NAMES: Final[tuple[str, ...]] = tuple(_READERS)  # every setting; .env.example lists the same


def field_of(name: str) -> str:
    """The attribute of Settings that holds a setting."""
    return name.removeprefix("CARE_").lower()


def _spellings(name: str) -> tuple[str, ...]:
    return (name, OLD_PREFIX + name) if name.startswith("MESSAGING_") else (name,)
