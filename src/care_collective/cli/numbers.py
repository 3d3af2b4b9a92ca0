"""How the numbers of a rollout are shown on a terminal: no data where there is none, no rate without its size."""

from typing import TYPE_CHECKING, Final

import rich_click as click

from care_collective.cli.show import show_table

if TYPE_CHECKING:
    from care_collective.rollout.criteria import Exit
    from care_collective.rollout.kpis import EngineNumbers, GuardState, Kpis, Numbers

_NO_DATA: Final = "no data"
_STATES: Final = {"met": "met", "not_met": "NOT MET", "no_data": _NO_DATA}


def show_numbers(found: "Kpis") -> None:
    """Shows both engines side by side, the days, the guard, and whether the stage may end."""
    numbers = found.numbers
    click.echo(f"\nNumbers since {numbers.since:%Y-%m-%d %H:%M}:")
    show_table(("", "V1", "V2"), list(zip(_HEADS, _column(numbers.v1), _column(numbers.v2), strict=True)))
    _show_days(numbers)
    violations = _NO_DATA if numbers.violations is None else str(numbers.violations)
    click.echo(
        f"Complaining members in the last hour: {numbers.complaining_members_last_hour}; orphans of V1: "
        f"{numbers.orphans}; violations: {violations}{f' ({numbers.violation})' if numbers.violations else ''}"
    )
    click.echo(_guard(found.guard))
    if found.exit is not None:
        _show_exit(found.exit)


_HEADS: Final = (
    "success", "95 % interval", "attempts", "failures", "failures shared with V1", "p50, p95, p99 in ms",
    "failures by code", "refusals by code", "complaints per 100", "answered within 3 days",
)  # fmt: skip


def _column(engine: "EngineNumbers") -> list[str]:
    return [
        _rate(engine.success_rate),
        _NO_DATA
        if engine.success_low is None or engine.success_high is None
        else f"{_rate(engine.success_low)} to {_rate(engine.success_high)}",
        str(engine.attempts),
        str(engine.failures),
        str(engine.shared),
        _NO_DATA
        if engine.p50_ms is None
        else ", ".join(f"{time:.0f}" for time in (engine.p50_ms, engine.p95_ms, engine.p99_ms) if time is not None),
        _codes(engine.failure_codes),
        _codes(engine.answer_codes),
        _NO_DATA if engine.complaints_per_100 is None else f"{engine.complaints_per_100:g} ({engine.complaints})",
        _NO_DATA if engine.answered_rate is None else f"{_rate(engine.answered_rate)} of {engine.offers}",
    ]


def _rate(rate: float | None) -> str:
    return _NO_DATA if rate is None else f"{100 * rate:.1f} %"


def _codes(codes: dict[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in sorted(codes.items(), key=lambda one: -one[1])) or "none"


def _show_days(numbers: "Numbers") -> None:
    if not numbers.adoption:
        click.echo("Conversations opened a day: no data")
        return
    show_table(
        ("day (UTC)", "V1", "V2", "share of V2", "V1 failed", "V2 failed"),
        [(str(d.day), d.v1, d.v2, _rate(d.share), d.v1_failures, d.v2_failures) for d in numbers.adoption],
    )


def _guard(guard: "GuardState") -> str:
    level = (
        f"no data (it trips at {guard.trip_level:,.0f})"
        if guard.level is None
        else f"{guard.level:,.1f} after {guard.judged} attempts (calm up to {guard.calm_level:g}, trips at "
        f"{guard.trip_level:,.0f})"
    )
    probe = guard.probe
    if probe is None or probe.probed_at is None:
        probed = "no probe yet"
    elif probe.v2_alone or probe.both:
        probed = f"the probe failed {probe.v2_alone or probe.both} times running ({probe.code})"
    else:
        probed = f"last probe at {probe.probed_at:%H:%M:%S}, passed"
    dry = ", ".join(rule.rule for rule in guard.rules if rule.dry_run)
    return (
        f"Guard: {'watching' if guard.watching else 'NOT WATCHING'}; level {level}; {probed}; in a dry run: "
        f"{dry or 'no rule'}; alerts that could not be sent yet: {guard.untold}"
    )


def _show_exit(found: "Exit") -> None:
    if found.following is None:
        said = f"The stage {found.stage} is the last."
    elif found.may_go_on:
        said = f"The stage {found.stage} may end; {found.following} follows. A person decides."
    else:
        said = f"The stage {found.stage} may not end yet."
    click.echo(f"\n{said}")
    show_table(("criterion", "", "why"), [(one.name, _STATES[one.state], one.words) for one in found.criteria])
