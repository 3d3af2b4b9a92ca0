"""Every field of every endpoint against bad input: the right code, plain words, nothing written, nothing leaked."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Town
from web.calls import REASONLESS, Call, Stage, calls, contents, refused, staged
from web_harness import MakeClient

JSON = {"content-type": "application/json"}
TEXTS = {
    "initial_message": (10, 1000),
    "content": (1, 1000),
    "title": (5, 100),
    "description": (0, 1000),
    "exchange_offer": (0, 300),
    "reason": (0, 500),
    "display_name": (1, 80),
    "town": (0, 80),
    "application_words": (0, 500),
    "code": (0, 60),
    "reference": (0, 100),
    "words": (0, 500),
    "email": (1, 254),
    "password": (10, 200),
}
CHOICES = ("category", "urgency")
OPTIONAL = {
    "description", "urgency", "exchange_offer", "reason", "town", "application_words", "help_request_id", "code",
    "reference", "words", "locale", "time_zone",
}  # fmt: skip
NULLABLE = OPTIONAL - {"urgency"} | {"until"}
# What only the sign-in form takes at its word: any wrong text there is a wrong password.
SIGN_IN = "/api/auth/sign-in"


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """An offer made in the engine under test."""
    return await staged(town, client)


def wrong_types(name: str) -> Iterator[str]:
    """Every JSON type that a field is not, as JSON text."""
    text = name != "seq"
    yield "7" if name in ("archived", "offers_paused") else "true"
    yield from ("1.5", "[]", "{}", '{"a": {"b": [1]}}', "1e400", "-1e400", "9" * 4000, "[" * 300 + "]" * 300)
    yield '"1"' if not text else "7"
    if name not in NULLABLE:
        yield "null"


def bad_texts(call: Call, name: str) -> Iterator[str]:
    """Texts of the right type that break the field's rule, as JSON text."""
    yield from (r'"a good long text \u0000"', r'"a good long text \ud800"', r'"\udfff\ud800 a good long text"')
    if call.template == SIGN_IN or (name == "reason" and call.template.endswith(REASONLESS)):
        return
    if name in CHOICES:
        yield from ('"nonsense"', '""', '"OTHER"')
    if name in ("stage", "why", "action"):
        yield from ('"nonsense"', '""', '"OFF"')
    if name in TEXTS:
        minimum, maximum = TEXTS[name]
        yield json.dumps("wörds " * 1700 if maximum > 300 else "wörds " * (maximum // 6 + 1))
        if minimum > 1:
            yield json.dumps("x" * (minimum - 1))
        if minimum > 0 and name != "password":
            yield from (
                json.dumps(blank) for blank in ("", "   ", "\u2800\u3164", "\u200b\u2060", "\ufeff\u00ad", "\n\t")
            )
    if name in ("conversation_id", "help_request_id"):
        yield from ('"nonsense"', '""', f'"{uuid4()}x"', '"\u00e9"')


def with_field(call: Call, name: str, value: str) -> bytes:
    """The call's good body with one field's value written as given."""
    members = {key: json.dumps(good) for key, good in (call.body or {}).items()} | {name: value}
    return ("{" + ", ".join(f'"{key}": {text}' for key, text in members.items()) + "}").encode()


def writers(stage: Stage) -> Iterator[Call]:
    return (call for call in calls(stage) if call.body is not None)


async def test_the_table_of_calls_is_the_description(client: MakeClient, stage: Stage) -> None:
    paths = (await client(None).get("/schema/openapi.json")).json()["paths"]
    described = {
        (path, method.upper()) for path, methods in paths.items() for method in methods if path.startswith("/api/")
    }
    assert {(c.template, c.method) for c in calls(stage)} == described
    for call in calls(stage):
        parameters = paths[call.template][call.method.lower()].get("parameters", [])
        assert {p["name"] for p in parameters if p.get("in") == "query"} == set(call.query), call.template


async def test_every_field_refuses_what_breaks_its_rule(client: MakeClient, stage: Stage) -> None:
    before = await contents(stage)
    for call in writers(stage):
        caller = client(call.who)
        for name in call.body or {}:
            for value in (*wrong_types(name), *bad_texts(call, name)):
                case = (call.template, name, value[:60])
                answer = await caller.request(
                    call.method, call.path, content=with_field(call, name, value), headers=JSON
                )
                assert name in refused(answer, case)["fields"], case
            good = json.dumps((call.body or {})[name])
            twice = with_field(call, name, good)[:-1] + f', "{name}": {good}}}'.encode()
            answer = await caller.request(call.method, call.path, content=twice, headers=JSON)
            assert name in refused(answer, (call.template, name, "twice"))["fields"]
            if name not in OPTIONAL:
                short = {key: value for key, value in (call.body or {}).items() if key != name}
                answer = await caller.request(call.method, call.path, json=short)
                assert name in refused(answer, (call.template, name, "missing"))["fields"]
    assert await contents(stage) == before


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "validation_error"),
    "array": (b"[]", 400, "validation_error"),
    "text": (b'"text"', 400, "validation_error"),
    "number": (b"7", 400, "validation_error"),
    "null": (b"null", 400, "validation_error"),
    "no JSON": (b"{'a': 1}", 400, "validation_error"),
    "two values": (b"{} {}", 400, "validation_error"),
    "cut off": (b'{"content": "abc', 400, "validation_error"),
    "NaN": (b'{"seq": NaN}', 400, "validation_error"),
    "Infinity": (b'{"seq": -Infinity}', 400, "validation_error"),
    "10^5000": (b'{"seq": 1' + b"0" * 5000 + b"}", 400, "validation_error"),
    "raw NUL": (b'{"content": "a\x00b"}', 400, "validation_error"),
    "not UTF-8": (b'{"content": "\xff\xfe"}', 400, "validation_error"),
    "UTF-8 surrogate": (b'{"content": "\xed\xa0\x80"}', 400, "validation_error"),
    "UTF-16": ('{"content": "abc"}'.encode("utf-16"), 400, "validation_error"),
    "deep array": (b"[" * 60_000, 400, "validation_error"),
    "deep object": (b'{"a":' * 12_000, 400, "validation_error"),
    "deep, closed": (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, 400, "validation_error"),
    "100k deep": (b"[" * 100_000, 413, "too_large"),
    "10 MB": (b'{"content": "' + b"a" * 10_000_000 + b'"}', 413, "too_large"),
    "name of a Python argument twice": (b'{"cls": 1, "cls": 2}', 400, "validation_error"),
    "names of Python arguments": (rb'{"cls": "\u0000", "self": "\u0000"}', 400, "validation_error"),
    "NUL in a name": (rb'{"a\u0000b": 1}', 400, "validation_error"),
    "surrogate in a name": (rb'{"\ud800": 1}', 400, "validation_error"),
}


async def test_every_body_that_is_no_object_of_ours_is_refused(client: MakeClient, stage: Stage) -> None:
    before = await contents(stage)
    for call in writers(stage):
        for name, (body, status, code) in BODIES.items():
            if name == "empty" and call.template.endswith(("/cancel", "/approve", "/reject")):  # may be left out
                continue
            answer = await client(call.who).request(call.method, call.path, content=body, headers=JSON)
            refused(answer, (call.template, name), status, code)
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "\xff"):
            answer = await client(call.who).request(
                call.method,
                call.path,
                content=json.dumps(call.body),
                headers=[(b"content-type", media_type.encode("latin-1"))],
            )
            refused(answer, (call.template, media_type), 415, "unsupported_media_type")
    assert await contents(stage) == before


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from([*TEXTS, "seq", "conversation_id", "cls", "self", "fields", "code"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    body=st.dictionaries(NAMES | st.text(st.characters(), max_size=6), JSON_VALUES, max_size=6) | JSON_VALUES,
    data=st.data(),
)
async def test_no_body_is_a_fault(client: MakeClient, stage: Stage, body: Any, data: st.DataObject) -> None:  # noqa: ANN401
    call = data.draw(st.sampled_from([c for c in writers(stage) if not c.template.startswith("/api/auth")]))
    answer = await client(call.who).request(call.method, call.path, content=json.dumps(body), headers=JSON)
    assert answer.status_code < 500, answer.text
    assert answer.status_code not in {400} or refused(answer, body)
