"""Passwords: what may be chosen, what fits, and that hashing stays bounded."""

import asyncio
import resource
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import argon2
import pytest

from care_collective.accounts import passwords
from care_collective.accounts.passwords import PARAMETERS, Passwords, Verdict, check_new
from care_collective.errors import CareError, Code

NO = Verdict(ok=False)
YES = Verdict(ok=True)
CHEAP = replace(PARAMETERS, time_cost=1, memory_cost=64)
GOOD = "correct horse battery"


@pytest.fixture
def hashing() -> Iterator[Passwords]:
    made = Passwords(parameters=CHEAP)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("password", "mend"),
    [
        ("0123456789", None),
        ("012345678", "at least 10"),
        ("", "at least 10"),
        ("é" * 5 + "ü" * 5, None),
        ("e\u0301" * 5, "at least 10"),  # ten code points, five characters
        ("e\u0301a" * 5, None),
        ("ab" * 100, None),
        ("ab" * 100 + "c", "at most 200"),
        ("e\u0301a" * 100, None),  # 300 code points that become 200
        ("\u0958" * 150 + "a", "at most 200"),  # 151 code points that become 301
        ("a\u0301\u0316" * 100_000, "at most 200"),
        ("aaaaaaaaaaaa", "more than one"),
        (" " * 12, "more than one"),
        ("e\u0301é" * 6, "more than one"),
        ("abcdefgh\0ij", "cannot be stored"),
        ("abcdefgh\ud800ij", "cannot be stored"),
        ("пароль из слов", None),
        ("🐴🔋🐴🔋🐴🔋🐴🔋🐴🔋", None),
    ],
)
def test_a_new_password_is_judged_by_its_normalised_form(password: str, mend: str | None) -> None:
    words = check_new(password)
    if mend is None:
        assert words is None
    else:
        assert words is not None
        assert mend in words


async def test_a_password_fits_its_own_hash_and_no_other(hashing: Passwords) -> None:
    stored = await hashing.hash(GOOD)
    assert stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert stored != await hashing.hash(GOOD)
    assert await hashing.verify(stored, GOOD) == YES
    for wrong in (GOOD + " ", GOOD.upper(), "", GOOD[:-1], GOOD + "\0"):
        assert await hashing.verify(stored, wrong) == NO


async def test_composed_and_decomposed_spellings_are_one_password(hashing: Passwords) -> None:
    assert await hashing.verify(await hashing.hash("Zo\u00eb liest gern"), "Zoe\u0308 liest gern") == YES
    assert await hashing.verify(await hashing.hash("Zoe\u0308 liest gern"), "Zo\u00eb liest gern") == YES


async def test_nul_and_what_follows_it_count(hashing: Passwords) -> None:
    stored = await hashing.hash("same start\0one")
    assert await hashing.verify(stored, "same start\0one") == YES
    assert await hashing.verify(stored, "same start\0two") == NO


@pytest.mark.parametrize("password", ["lone \ud800 surrogate", "x" * 1001])
async def test_what_cannot_be_a_password_is_a_plain_no_and_never_hashed(hashing: Passwords, password: str) -> None:
    assert await hashing.verify(await hashing.hash(GOOD), password) == NO
    assert await hashing.verify(None, password) == NO
    with pytest.raises(CareError) as caught:
        await hashing.hash(password)
    assert caught.value.code is Code.VALIDATION_ERROR
    assert set(caught.value.extras["fields"]) == {"password"}


MALFORMED = [
    "",
    "x",
    "$argon2id$",
    "$argon2id$v=19$m=64,t=1,p=1$$",
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA",
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$!!!!",
    "$argon2id$v=19$m=x,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNo",
    "$argon2id$v=19$m=-64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNo",
    "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNo",
    "$argon2id$v=99$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNo",
    "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNo",
    "$argon2id$v=19$m=64,t=4294967295,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNo",
    "$argon2id$v=19$m=131072,t=1,p=4096$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNo",
    "$2b$12$C6UzMDM.H6dfI/f/IKcEeO7ZPYRrGFFJdgyHvkbJZ3h2nKp5oB6ZK",
    "пароль",
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$пароль",
    "\ud800",
    GOOD,
]


@pytest.mark.parametrize("stored", MALFORMED)
async def test_a_malformed_or_ruinous_stored_hash_is_a_plain_no(hashing: Passwords, stored: str) -> None:
    assert await hashing.verify(stored, GOOD) == NO


@pytest.mark.parametrize("change", [{"time_cost": 11}, {"memory_cost": 128 * 1024 + 1}, {"parallelism": 9}])
async def test_a_stored_hash_dearer_than_any_of_ours_is_not_computed(
    hashing: Passwords, change: dict[str, Any]
) -> None:
    cost = replace(CHEAP, memory_cost=128)
    for allowed in (cost, replace(cost, **{name: value - 1 for name, value in change.items()})):
        stored = argon2.PasswordHasher.from_parameters(allowed).hash(GOOD)
        assert (await hashing.verify(stored, GOOD)).ok
    stored = argon2.PasswordHasher.from_parameters(replace(cost, **change)).hash(GOOD)
    assert await hashing.verify(stored, GOOD) == NO


def test_a_long_run_of_marks_is_refused_before_it_is_normalised() -> None:
    """Sorting it is quadratic: these took more than a minute."""
    began = time.perf_counter()
    assert check_new("a" + "\u0301\u0316" * 40_000) == "Use at most 200 characters."
    assert time.perf_counter() - began < 5


async def test_only_argon2id_is_read(hashing: Passwords) -> None:
    for kind, verdict in ((argon2.Type.ID, YES), (argon2.Type.I, NO), (argon2.Type.D, NO)):
        stored = argon2.PasswordHasher.from_parameters(replace(CHEAP, type=kind)).hash(GOOD)
        assert await hashing.verify(stored, GOOD) == verdict


@pytest.mark.parametrize(
    "change", [{"time_cost": 2}, {"memory_cost": 128}, {"parallelism": 2}, {"hash_len": 24}, {"salt_len": 20}]
)
async def test_a_changed_cost_asks_for_a_fresh_hash_only_of_the_right_password(
    hashing: Passwords, change: dict[str, Any]
) -> None:
    stored = argon2.PasswordHasher.from_parameters(replace(CHEAP, **change)).hash(GOOD)
    assert await hashing.verify(stored, GOOD) == Verdict(ok=True, rehash=True)
    assert await hashing.verify(stored, "another password") == NO
    assert await hashing.verify(await hashing.hash(GOOD), GOOD) == YES


def test_the_cost_is_at_least_the_one_owasp_asks_for() -> None:
    assert PARAMETERS.type is argon2.Type.ID
    assert PARAMETERS.memory_cost >= 19 * 1024
    assert PARAMETERS.time_cost >= 2
    assert PARAMETERS.memory_cost <= passwords.STORED_MEMORY_KIB
    assert PARAMETERS.time_cost <= passwords.STORED_PASSES
    assert PARAMETERS.parallelism <= passwords.STORED_LANES


async def test_an_unknown_account_and_a_broken_hash_take_as_long_as_a_wrong_password() -> None:
    hashing = Passwords()
    cases = {
        "wrong": await hashing.hash(GOOD),
        "unknown": None,
        "broken": "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$!!!!",
        "foreign": "x",
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(15):
        for name, stored in cases.items():
            began = time.perf_counter()
            assert await hashing.verify(stored, "a wrong password") == NO
            taken[name].append(time.perf_counter() - began)
    hashing.close()
    middle = {name: statistics.median(times) for name, times in taken.items()}
    # Wide, for a busy machine: without the dummy the quotient is about 0.01.
    assert all(0.2 < middle[name] / middle["wrong"] < 5 for name in cases), middle


class Gate:
    """Holds the pool's threads until it is opened, so that a queue can be filled without timing."""

    def __init__(self, hashing: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.began = asyncio.Event()
        self.count = 0
        loop = asyncio.get_running_loop()
        real = hashing._hash

        def held(secret: bytes) -> str:
            self.count += 1
            loop.call_soon_threadsafe(self.began.set)
            assert self.open.wait(60)
            return real(secret)

        monkeypatch.setattr(hashing, "_hash", held)


async def test_a_full_queue_answers_unavailable_and_empties_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hashing = Passwords(parameters=CHEAP, workers=2, waiting=3)
    gate = Gate(hashing, monkeypatch)
    taken = [asyncio.create_task(hashing.hash(GOOD)) for _ in range(5)]
    await asyncio.sleep(0)
    for refused in (hashing.hash(GOOD), hashing.verify(None, GOOD)):
        with pytest.raises(CareError) as caught:
            await refused
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.extras == {"retry_after": 1}
    gate.open.set()
    assert len(set(await asyncio.gather(*taken))) == 5
    assert await hashing.verify(await hashing.hash(GOOD), GOOD) == YES
    hashing.close()


async def test_a_caller_who_leaves_gives_the_place_back_only_when_the_thread_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashing = Passwords(parameters=CHEAP, workers=1, waiting=1)
    gate = Gate(hashing, monkeypatch)
    running = asyncio.create_task(hashing.hash(GOOD))
    await asyncio.wait_for(gate.began.wait(), 60)
    queued = asyncio.create_task(hashing.hash(GOOD))
    await asyncio.sleep(0)
    for task in (running, queued):
        task.cancel()
    await asyncio.wait([running, queued])
    # The queued call never began, the running one still holds its thread: one place is free, not two.
    third = asyncio.create_task(hashing.hash(GOOD))
    await asyncio.sleep(0)
    with pytest.raises(CareError, match="unavailable"):
        await hashing.hash(GOOD)
    gate.open.set()
    assert await third
    assert gate.count == 2
    hashing.close()
    for _ in range(2):
        assert hashing._places.acquire(blocking=False)
    assert not hashing._places.acquire(blocking=False)


async def test_hashing_leaves_the_event_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    hashing = Passwords(parameters=CHEAP)
    gate = Gate(hashing, monkeypatch)
    task = asyncio.create_task(hashing.hash(GOOD))
    await asyncio.wait_for(gate.began.wait(), 60)  # the loop turns although the hash is held
    gate.open.set()
    assert await task
    hashing.close()


async def test_a_shortage_of_memory_is_unavailable_and_not_a_wrong_password() -> None:
    hashing = Passwords(parameters=replace(PARAMETERS, memory_cost=2**31))  # 2 TiB
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**38, limits[1]))  # else a generous kernel might grant them
    try:
        for call in (hashing.hash(GOOD), hashing.verify(None, GOOD)):
            with pytest.raises(CareError) as caught:
                await call
            assert caught.value.code is Code.UNAVAILABLE
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    hashing.close()


async def test_after_close_every_call_is_unavailable(hashing: Passwords) -> None:
    hashing.close()
    for call in (hashing.hash(GOOD), hashing.verify(None, GOOD)):
        with pytest.raises(CareError) as caught:
            await call
        assert caught.value.code is Code.UNAVAILABLE
