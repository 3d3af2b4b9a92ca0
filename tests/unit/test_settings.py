"""The settings: each one right and wrong, nothing secret shown."""

import os
import re
import traceback
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from care_collective.errors import SettingsError
from care_collective.rollout.policy import Declared, Stage
from care_collective.settings import NAMES, Address, Log, Settings, load

HOME = {"HOME": "/home/rosa"}
KEY = "k" * 32
MARK = "hunter2"  # stands in every secret below, and must stand in no text
DATABASE = f"postgresql://care:{MARK}@db/care"
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"


def _load(**environ: str) -> Settings:
    return load(HOME | environ)


def _refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        load(HOME | environ)
    return str(refused.value)


GOOD: list[tuple[str, str, object]] = [
    ("DATABASE_URL", "postgresql://care@localhost/care", "postgresql://care@localhost/care"),
    ("DATABASE_URL", "postgres://care:p%40ss@[::1]:5432/care?sslmode=require", ...),
    ("DATABASE_URL", "postgresql://care:p@one:5432,two:5433/care", ...),
    ("DATABASE_URL", "postgresql:///care?host=/run/postgresql", ...),
    ("DATABASE_URL", "postgresql://localhost?dbname=care", ...),
    ("DATABASE_OWNER_URL", "postgresql://owner@localhost/care", ...),
    ("DATABASE_DIRECT_URL", "postgresql://care@localhost:6432/care", ...),
    ("CARE_DATA_DIR", "/srv/care data", Path("/srv/care data")),
    ("CARE_HOST", "0.0.0.0", "0.0.0.0"),
    ("CARE_HOST", "::1", "::1"),
    ("CARE_HOST", "care_web.local", "care_web.local"),
    ("CARE_PORT", "0", 0),
    ("CARE_PORT", "65535", 65535),
    ("CARE_BASE_URL", "https://Care.Example.org/", "https://care.example.org"),
    ("CARE_BASE_URL", "https://care.example.org:443", "https://care.example.org"),
    ("CARE_BASE_URL", "http://[::1]:8080", "http://[::1]:8080"),
    ("CARE_METRICS_BIND", "127.0.0.1:9100", Address("127.0.0.1", 9100)),
    ("CARE_METRICS_BIND", "[::1]:0", Address("::1", 0)),
    ("CARE_TRUSTED_PROXIES", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ("CARE_SECRET_KEY", KEY, KEY),
    ("CARE_SECRET_KEY", "ä" * 16, "ä" * 16),
    ("CARE_VAULT_KEY", KEY, KEY),
    ("CARE_JWT_SECRET", KEY, KEY),
    ("CARE_JWKS_URL", "https://auth.example.org/jwks.json?v=1", ...),
    ("CARE_JWKS_URL", "http://localhost:9999/jwks", ...),
    ("CARE_JWKS_URL", "http://127.8.0.1/jwks", ...),
    ("CARE_JWKS_URL", "http://[::1]:1/jwks", ...),
    ("CARE_SMTP_URL", "smtp://user:pass@mail.example.org:587", ...),
    ("CARE_SMTP_URL", "smtps://mail.example.org", ...),
    ("CARE_ALERT_URL", "https://hooks.example.org/T0/B0?x=1", ...),
    ("CARE_ALERT_URL", "http://alertmanager:9093/api", ...),
    ("CARE_REDIS_URL", "redis://localhost:6379/0", ...),
    ("CARE_REDIS_URL", "rediss://:pass@cache.example.org", ...),
    ("CARE_LOG", "debug", Log("debug", "auto")),
    ("CARE_LOG", "warning:json", Log("warning", "json")),
    ("CARE_LOG", "error:console", Log("error", "console")),
    ("MESSAGING_V2_ENABLED", "true", True),
    ("MESSAGING_V2_ENABLED", "false", False),
    ("MESSAGING_V2_ROLLOUT", "off", "off"),
    ("MESSAGING_V2_ROLLOUT", "internal", "internal"),
    ("MESSAGING_V2_ROLLOUT", "percentage:12.5", "percentage:12.5"),
    ("MESSAGING_V2_ROLLOUT", "on", "on"),
]

BAD: list[tuple[str, str]] = [
    *(("DATABASE_URL", text) for text in ("care", "mysql://u:hunter2@h/care", "postgresql:care", "postgresql://")),
    *(("DATABASE_URL", f"postgresql://care:{MARK}@{rest}") for rest in ("db", "db/", "/care", "db:99999/care")),
    *(
        ("DATABASE_URL", f"postgresql://care:{MARK}@{rest}")
        for rest in ("db:x/care", "db/a/b", "a,,b/care", "d b/care")
    ),
    *(("DATABASE_URL", f"postgresql://care:{MARK}{rest}") for rest in ("#x@db/care", "/x@db/care", "@[::1/care")),
    ("DATABASE_URL", f"postgresql://care:{MARK}@exa\u2100mple/care"),  # urlsplit's own message shows the password
    ("DATABASE_URL", f"postgresql://care:{MARK}@db\n/care"),  # urlsplit takes line breaks out in silence
    ("CARE_DATA_DIR", "care"),
    ("CARE_DATA_DIR", "~/care"),
    *(("CARE_HOST", text) for text in ("http://localhost", "localhost:80", "[::1]", "999.1.1.1", "a b", "-a", "a/b")),
    *(("CARE_PORT", text) for text in ("-1", "65536", "99999", "100000", "80a", "+80", "8_0", "080", "8.0", "\u0668")),
    *(
        ("CARE_BASE_URL", text)
        for text in ("care.example.org", "ftp://h", "https://h/app", "https://h?x", "https://h#x")
    ),
    *(("CARE_BASE_URL", text) for text in (f"https://u:{MARK}@h", "https://", "https://h:99999", "https://h:0")),
    *(("CARE_METRICS_BIND", text) for text in ("9100", ":9100", "127.0.0.1", "::1:9100", "h:70000", "[h]:1", "h:")),
    *(("CARE_TRUSTED_PROXIES", text) for text in ("10.0.0.1/8", "proxy", "10.0.0.1,", "10.0.0.1 10.0.0.2", "*")),
    *((name, MARK + "x" * 24) for name in ("CARE_SECRET_KEY", "CARE_VAULT_KEY", "CARE_JWT_SECRET")),
    *(
        ("CARE_JWKS_URL", text)
        for text in (f"http://u:{MARK}@auth.example.org/k", "http://10.0.0.1/k", "file:///k", "k")
    ),
    *(("CARE_JWKS_URL", text) for text in ("http://localhost.example.org/k", "https:///k", "https://h#k")),
    *(("CARE_SMTP_URL", f"{text}") for text in (f"http://u:{MARK}@h", "smtp://", f"smtp://u:{MARK}@h/x", "smtp://h:x")),
    *(("CARE_ALERT_URL", text) for text in (f"ftp://h/{MARK}", "hooks", f"https://{MARK}@")),
    *(("CARE_REDIS_URL", text) for text in (f"http://:{MARK}@h", f"redis://:{MARK}@h/x", "redis://", "localhost:6379")),
    *(("CARE_LOG", text) for text in ("INFO", "verbose", "info:", "info:xml", ":json", "info:auto", "info json")),
    *(
        ("MESSAGING_V2_ENABLED", text)
        for text in ("TRUE", "False", "1", "0", "yes", "on", "off", '"true"', "true false")
    ),
    *(
        ("MESSAGING_V2_ROLLOUT", text)
        for text in ("OFF", "true", "percentage:150", "percentage:10.005", "percentage: 1")
    ),
    *(("MESSAGING_V2_ROLLOUT", text) for text in ("percentage:100.01", "percentage:100.1", "percentage:05")),
]


def _companions(name: str) -> dict[str, str]:
    return {"DATABASE_URL": DATABASE} if name in ("DATABASE_OWNER_URL", "DATABASE_DIRECT_URL") else {}


def _field(name: str) -> str:
    return name.removeprefix("CARE_").lower()


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_right_value_is_read(name: str, text: str, value: object) -> None:
    settings = load(HOME | _companions(name) | {name: text})
    assert getattr(settings, _field(name)) == (text if value is ... else value)


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_white_space_around_a_value_is_cut_off(name: str, text: str, value: object) -> None:
    settings = load(HOME | _companions(name) | {name: f" \t{text}\r\n"})
    assert getattr(settings, _field(name)) == (text if value is ... else value)


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_wrong_value_stops_the_start_with_the_name_and_the_rule(name: str, text: str) -> None:
    words = _refusal({name: text})
    assert words.startswith(name)
    assert ": must " in words
    assert "\n" not in words


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, text in BAD if MARK in text])
def test_no_traceback_of_a_refusal_shows_a_secret(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(HOME | {name: text})
    assert MARK not in "".join(traceback.format_exception(refused.value))


def test_good_and_bad_values_are_tried_for_every_setting() -> None:
    same_reader = {"DATABASE_OWNER_URL", "DATABASE_DIRECT_URL"}
    assert {name for name, _, _ in GOOD} == set(NAMES)
    assert {name for name, _ in BAD} | same_reader == set(NAMES)


@pytest.mark.parametrize("name", ["DATABASE_OWNER_URL", "DATABASE_DIRECT_URL"])
def test_the_further_database_urls_are_checked_too(name: str) -> None:
    assert _refusal({"DATABASE_URL": DATABASE, name: f"mysql://u:{MARK}@h/d"}).startswith(f"{name}: must look like")


def test_a_wrong_value_is_shown_where_it_is_no_secret() -> None:
    assert _refusal({"MESSAGING_V2_ENABLED": "TRUE\n"}) == (
        "MESSAGING_V2_ENABLED is 'TRUE': must be true or false, in lower case"
    )
    assert "is 'percentage:150': must be off, internal, percentage:N" in _refusal(
        {"MESSAGING_V2_ROLLOUT": "percentage:150"}
    )


def test_every_wrong_setting_is_named_at_once() -> None:
    words = _refusal({"CARE_PORT": "x", "CARE_HOSTS": "y", "CARE_SECRET_KEY": "short", "CARE_LOG": "loud"})
    assert [line.split()[0].rstrip(":") for line in words.splitlines()] == [
        "CARE_HOSTS",
        "CARE_SECRET_KEY",
        "CARE_PORT",
        "CARE_LOG",
    ]


def test_undecodable_bytes_are_refused() -> None:
    assert "UTF-8" in _refusal({"CARE_SECRET_KEY": "k" * 40 + "\udcff"})


@pytest.mark.parametrize("empty", ["", " ", "\n", " \t\r\n "])
def test_empty_values_are_absent(empty: str) -> None:
    assert load(HOME | dict.fromkeys(NAMES, empty)) == load(HOME)


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load(HOME) == Settings(
        data_dir=Path("/home/rosa/.local/state/care-collective"), base_url="http://127.0.0.1:8000"
    )
    settings = load(HOME)
    assert (settings.host, settings.port, settings.log) == ("127.0.0.1", 8000, Log("info", "auto"))
    assert settings.embedded
    assert (settings.messaging_v2_enabled, settings.messaging_v2_rollout) == (None, None)


@pytest.mark.parametrize(
    ("uid", "environ", "folder"),
    [
        (0, {"HOME": "/root"}, "/var/lib/care-collective"),
        (0, {"HOME": "/root", "XDG_STATE_HOME": "/state"}, "/var/lib/care-collective"),
        (0, {}, "/var/lib/care-collective"),
        (1000, {"HOME": "/home/rosa"}, "/home/rosa/.local/state/care-collective"),
        (1000, {"HOME": "/home/rosa", "XDG_STATE_HOME": "/state"}, "/state/care-collective"),
        (1000, {"HOME": "/home/rosa", "XDG_STATE_HOME": "state"}, "/home/rosa/.local/state/care-collective"),
        (1000, {"CARE_DATA_DIR": "/srv/care"}, "/srv/care"),
        (0, {"CARE_DATA_DIR": "/srv/care"}, "/srv/care"),
    ],
)
def test_where_the_data_are_kept(
    monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str], folder: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert load(environ).data_dir == Path(folder)


def test_without_any_folder_to_keep_data_in_the_start_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SettingsError, match="CARE_DATA_DIR: must be set"):
        load({})


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [
        ("127.0.0.1", "9000", "http://127.0.0.1:9000"),
        ("::1", "9000", "http://[::1]:9000"),
        ("care.local", "80", "http://care.local"),
        ("0.0.0.0", "9000", "http://127.0.0.1:9000"),
        ("::", "9000", "http://[::1]:9000"),
    ],
)
def test_the_base_url_follows_host_and_port(host: str, port: str, base_url: str) -> None:
    assert _load(CARE_HOST=host, CARE_PORT=port).base_url == base_url


def test_a_free_port_once_known_is_in_the_derived_base_url_only() -> None:
    assert _load(CARE_PORT="0").listening_on(4711).base_url == "http://127.0.0.1:4711"
    assert _load(CARE_PORT="0").listening_on(4711).port == 4711
    given = _load(CARE_PORT="0", CARE_BASE_URL="https://care.example.org")
    assert given.listening_on(4711).base_url == "https://care.example.org"


@pytest.mark.parametrize("prefix", ["", "NEXT_PUBLIC_"])
def test_the_flag_is_read_in_both_spellings(prefix: str) -> None:
    settings = load(HOME | {f"{prefix}MESSAGING_V2_ENABLED": "true\n", f"{prefix}MESSAGING_V2_ROLLOUT": "percentage:5"})
    assert (settings.messaging_v2_enabled, settings.messaging_v2_rollout) == (True, "percentage:5")


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("MESSAGING_V2_ENABLED", "false", "true"), ("MESSAGING_V2_ROLLOUT", "off", "percentage:50")],
)
def test_two_spellings_that_differ_stop_the_start(name: str, one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        words = _refusal({name: first, f"NEXT_PUBLIC_{name}": second})
        assert words == f"{name} and NEXT_PUBLIC_{name} are both set and differ: keep one of them"
    assert getattr(load(HOME | {name: one, f"NEXT_PUBLIC_{name}": f" {one}\n"}), _field(name)) is not None
    assert getattr(load(HOME | {name: " ", f"NEXT_PUBLIC_{name}": one}), _field(name)) is not None


def test_a_wrong_value_under_the_old_spelling_is_named_by_that_spelling() -> None:
    assert _refusal({"NEXT_PUBLIC_MESSAGING_V2_ENABLED": "no"}).startswith("NEXT_PUBLIC_MESSAGING_V2_ENABLED is 'no'")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CARE_DATADIR", "CARE_DATA_DIR"),
        ("CARE_JWT_SECRETS", "CARE_JWT_SECRET"),
        ("MESSAGING_V2_ENABLE", "MESSAGING_V2_ENABLED"),
        ("MESSAGING_V2_ROLOUT", "MESSAGING_V2_ROLLOUT"),
        ("messaging_v2_enabled", "MESSAGING_V2_ENABLED"),
        ("NEXT_PUBLIC_MESSAGING_V2_ENABLE", "NEXT_PUBLIC_MESSAGING_V2_ENABLED"),
        ("care_port", "CARE_PORT"),
        ("database_url", "DATABASE_URL"),
        ("CARE_COLLECTIVE_PORT", None),
        ("CARE_ZZZZZZZZZZZZ", None),
    ],
)
def test_a_misspelt_setting_stops_the_start_and_is_put_right(name: str, meant: str | None) -> None:
    words = _refusal({name: MARK})
    assert words.startswith(f"{name}: is not a setting; ")
    assert meant is None or words.endswith(f"did you mean {meant}?")
    assert MARK not in words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CARE_TEST_DATABASE_URL", "postgresql://x"),
        ("PATH", "/bin"),
        ("CAREFUL", "yes"),
        ("DATABASE_POOL", "5"),
        ("NEXT_PUBLIC_SITE", "x"),
        ("CARE_COLLECTIVE_SERVICE_HOST", "10.0.0.1"),  # Kubernetes sets these for a service named care-collective
        ("CARE_COLLECTIVE_SERVICE_PORT_HTTP", "80"),
        ("CARE_COLLECTIVE_PORT", "tcp://10.0.0.1:80"),
        ("CARE_COLLECTIVE_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_is_not_ours_is_passed_over(name: str, value: str) -> None:
    assert load(HOME | {name: value}) == load(HOME)


def test_settings_that_exclude_or_need_each_other() -> None:
    assert "at most one" in _refusal({"CARE_JWT_SECRET": KEY, "CARE_JWKS_URL": "https://auth.example.org/k"})
    assert (
        _refusal({"DATABASE_OWNER_URL": DATABASE}) == "DATABASE_OWNER_URL: may only be set together with DATABASE_URL"
    )
    assert _refusal({"DATABASE_DIRECT_URL": DATABASE}).startswith("DATABASE_DIRECT_URL: may only")


SECRETS = {
    "DATABASE_URL": DATABASE,
    "DATABASE_OWNER_URL": f"postgresql://owner:{MARK}@db/care",
    "DATABASE_DIRECT_URL": f"postgresql://direct:{MARK}@db/care",
    "CARE_SECRET_KEY": MARK * 5,
    "CARE_VAULT_KEY": MARK * 6,
    "CARE_SMTP_URL": f"smtp://user:{MARK}@mail",
    "CARE_ALERT_URL": f"https://hooks.example.org/{MARK}",
    "CARE_REDIS_URL": f"redis://:{MARK}@cache",
}


@pytest.mark.parametrize("auth", [{"CARE_JWT_SECRET": MARK * 7}, {"CARE_JWKS_URL": f"https://u:{MARK}@auth/k"}])
def test_secrets_are_absent_from_every_way_to_print_the_settings(auth: dict[str, str]) -> None:
    settings = load(HOME | SECRETS | auth | {"CARE_PORT": "8123"})
    texts = [repr(settings), str(settings), f"{settings}", f"{settings!r:>5}", repr([settings])]
    assert not [text for text in [*texts, repr(settings.__rich_repr__())] if MARK in text]
    assert "port=8123" in repr(settings)
    assert "secret_key='…'" in repr(settings)
    assert "secret_key=None" in repr(load(HOME))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        load(HOME).port = 1  # type: ignore[misc]


def test_an_outside_database_needs_a_key_of_ours() -> None:
    with pytest.raises(SettingsError, match="CARE_SECRET_KEY: must be at least 32 bytes"):
        _load(DATABASE_URL=DATABASE).require_secret_key()
    assert _load(DATABASE_URL=DATABASE, CARE_SECRET_KEY=KEY).require_secret_key() == KEY


@limits(deadline=None)  # times are not asserted
@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_characters="\0")), max_size=4))
def test_whatever_is_set_is_either_read_or_refused(environ: dict[str, str]) -> None:
    try:
        settings = load(HOME | environ)
    except SettingsError:
        return
    Declared.of(settings.messaging_v2_enabled, settings.messaging_v2_rollout)


@limits(deadline=None)  # times are not asserted
@given(st.integers(0, 10_000))
def test_a_stage_that_lets_a_process_start_is_the_stage_it_gets(share: int) -> None:
    text = str(Stage("percentage", share))
    settings = _load(MESSAGING_V2_ROLLOUT=text)
    assert Declared.of(None, settings.messaging_v2_rollout).stage == Stage("percentage", share)


def _example() -> tuple[dict[str, str], dict[str, str], list[tuple[str, str]]]:
    """Settings as written, settings behind a #, and each setting's name with the line above it."""
    written: dict[str, str] = {}
    behind: dict[str, str] = {}
    above: list[tuple[str, str]] = []
    lines = EXAMPLE.read_text("utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        name, equals, value = line.removeprefix("#").partition("=")
        if equals and name.isidentifier() and name.isupper():
            (behind if line.startswith("#") else written)[name] = value
            above.append((name, before))
    return written, behind, above


def test_the_example_lists_exactly_the_settings_each_with_a_line_of_comment() -> None:
    written, behind, above = _example()
    assert sorted(name for name, _ in above) == sorted(NAMES)
    assert not written.keys() & behind.keys()
    assert all(comment.startswith("# ") and comment.endswith(".") for _, comment in above)


def test_the_example_says_of_each_setting_whether_it_is_used_yet() -> None:
    rooms = [path for path in (ROOT / "src").rglob("*.py") if path.name not in ("settings.py", "secrets_file.py")]
    code = "\n".join(path.read_text("utf-8") for path in rooms)
    unused = {name for name in NAMES if not re.search(rf"\.(require_)?{_field(name)}\b", code)}
    _, _, above = _example()
    assert {name for name, comment in above if comment.endswith("Not used by this release yet.")} == unused


def test_the_example_loads_as_written_and_changes_nothing() -> None:
    written, behind, _ = _example()
    assert load(HOME | written) == load(HOME)
    assert {"MESSAGING_V2_ENABLED", "MESSAGING_V2_ROLLOUT"} <= behind.keys()


def test_every_value_behind_a_comment_sign_is_a_right_one() -> None:
    _, behind, _ = _example()
    for name, value in behind.items():
        assert getattr(load(HOME | _companions(name) | {name: value}), _field(name)) is not None
