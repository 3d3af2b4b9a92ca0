"""The decisions, by their numbers."""

import re
from pathlib import Path

DECISIONS = sorted((Path(__file__).parents[2] / "docs" / "decisions").iterdir())


def test_every_decision_has_a_number_of_its_own_none_is_missing_and_its_title_says_it() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(DECISIONS) + 1)), "take the next number: two cannot have the same"
    for number, path in zip(numbers, DECISIONS, strict=True):
        assert re.match(rf"# {number}\. \w", path.read_text("utf-8")), path.name
