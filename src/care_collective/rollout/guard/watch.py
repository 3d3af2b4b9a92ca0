"""The live guard: looks every few seconds, judges, keeps the detector, and acts once however many nodes look.

Goes back or warns and nothing else: it never advances a stage, and without evidence it does nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError
from care_collective.rollout.guard.detector import Detector
from care_collective.rollout.guard.evidence import Complaints, Evidence, Outcome, Probe, Violations, advance
from care_collective.rollout.guard.probe import Start, Version, probe
from care_collective.rollout.guard.rules import Changed, Finding, Verdict, in_force, judge

log = structlog.get_logger("care_collective.rollout")

FLAG: Final = "messaging_v2"
LOOK_SECONDS: Final = 3.0
# How late a probe can be: whose turn it is, is asked for so often.
_TURN_SECONDS: Final = 1.0
_PAGE: Final = 500  # attempts a look; care.guard_look gives no more
_BLIND_SECONDS: Final = 30.0
_MOST_WORDS: Final = 1000


class Kept(msgspec.Struct, frozen=True):
    """The detector as the database holds it; `fresh`: it is from before the flag was resumed, and begins anew."""

    levels: tuple[float, ...]
    judged: int
    generation: int
    fresh: bool
    attempts: int
    codes: dict[str, int]
    helpers: frozenset[str]

    def detector(self) -> Detector:
        """The state to go on from."""
        return Detector() if self.fresh else Detector(self.levels, self.judged, self.attempts, self.codes, self.helpers)


class Unjudged(msgspec.Struct, frozen=True):
    """A closed attempt that the detector has not been fed."""

    id: UUID
    outcome: Outcome


class Look(msgspec.Struct, frozen=True):
    """What care.guard_look answers."""

    now: float
    generation: int
    stopped: str | None
    opens: bool
    since: datetime | None
    rules: dict[str, Changed]
    kept: Kept | None
    unjudged: list[Unjudged]
    recent: tuple[Outcome, ...]
    violations: Violations
    probe: Probe
    complaints: tuple[Complaints, ...]


_decode_look = msgspec.json.Decoder(Look).decode


class Guard:
    """One node's guard. `starts` are the engines' ways to open a conversation, which the probe calls over `members`.

    `members` is the database as members' calls reach it; `database` has to answer while those use up every connection.
    `clock` answers seconds and only says how long ago the last look was.
    """

    def __init__(
        self,
        database: Database,
        starts: Mapping[Version, Start],
        *,
        members: Database,
        node_id: UUID,
        flag: str = FLAG,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._starts = starts
        self._members = members
        self._node_id = node_id
        self._flag = flag
        self._clock = clock
        self._looked = clock()

    async def watch(self, *, every_seconds: float = LOOK_SECONDS) -> None:
        """Looks and probes for ever. Where it cannot it holds, says so in the log, and tries again."""
        async with asyncio.TaskGroup() as tasks:  # a probe that hangs delays no look
            tasks.create_task(_repeat(self.look, every_seconds))
            tasks.create_task(_repeat(self.probe, min(every_seconds, _TURN_SECONDS)))

    @property
    def state(self) -> str:
        """Whether it sees anything: blind once no look has come to its end for 30 seconds."""
        return "blind" if self._clock() - self._looked > _BLIND_SECONDS else "watching"

    async def probe(self) -> None:
        """Probes both engines when it is this node's turn."""
        await probe(self._database, self._members, self._starts, flag=self._flag, node_id=self._node_id)

    async def look(self) -> Verdict:
        """Judges what there is and acts on it. Errors: CareError while the database is away: nothing is done then."""
        await self._database.value("care.check_rows", p_flag=self._flag)
        while True:
            look = _decode_look(await self._database.value("care.guard_look", p_flag=self._flag))
            verdict = await self._judge(look)
            if len(look.unjudged) < _PAGE or verdict.action == "rollback":
                break
        self._looked = self._clock()
        return verdict

    async def _judge(self, look: Look) -> Verdict:
        if look.stopped is not None:
            return Verdict("hold", words="It is stopped, until a person resumes")
        detector = Detector() if look.kept is None else look.kept.detector()
        for one in look.unjudged:
            detector = advance(detector, one.outcome)
        evidence = Evidence(
            now=look.now,
            detector=detector,
            recent=look.recent,
            violations=look.violations,
            probe=look.probe,
            complaints=look.complaints,
            opens=look.opens,
        )
        verdict = judge(evidence, in_force(look.rules))
        if look.unjudged and not await self._keep(look, detector):
            return Verdict("hold", words="Another node judges these attempts")
        await self._act(verdict, look.generation)
        return verdict

    async def _keep(self, look: Look, detector: Detector) -> bool:
        rise = {"attempts": detector.attempts, "codes": detector.codes, "helpers": sorted(detector.helpers)}
        return bool(
            await self._database.value(
                "care.guard_keep",
                p_flag=self._flag,
                p_generation=0 if look.kept is None else look.kept.generation,
                p_since=look.since,
                p_levels=list(detector.levels),
                p_judged=detector.judged,
                p_rise=msgspec.json.encode(rise).decode(),
                p_ids=[one.id for one in look.unjudged],
            )
        )

    async def _act(self, verdict: Verdict, generation: int) -> None:
        for finding in verdict.findings:
            if finding.action == "rollback" and not finding.dry_run:
                if finding.rule == verdict.rule:
                    await self._roll_back(finding, generation)
            elif finding.rule != "no_data":  # all else is told: a warning, a dry run, both engines failing
                await self._warn(finding)

    async def _roll_back(self, finding: Finding, generation: int) -> None:
        answer = await self._database.call(
            "care.stop_rollout",
            p_flag=self._flag,
            p_action="trip",
            p_actor="guard",
            p_actor_id=None,
            p_why=finding.rule,
            p_words=finding.words[:_MOST_WORDS],
            p_numbers=msgspec.json.encode(finding.numbers).decode(),
            p_node_id=self._node_id,
            p_expected_generation=generation,
        )
        # Refused is as well: another node was first, or the flag was changed, which the next look will see.
        if answer.refusal() is None:
            log.error("guard.rolled_back", rule=finding.rule, words=finding.words, numbers=finding.numbers)

    async def _warn(self, finding: Finding) -> None:
        words = finding.words
        if finding.dry_run:
            done = "rolled back" if finding.action == "rollback" else "warned"
            words = f"Dry run, nothing was done; would have {done}: {words}"
        told = await self._database.value(
            "care.guard_warn",
            p_flag=self._flag,
            p_rule=finding.rule,
            p_words=words[:_MOST_WORDS],
            p_numbers=msgspec.json.encode(finding.numbers).decode(),
            p_node_id=self._node_id,
        )
        if told:
            log.warning("guard.warned", rule=finding.rule, words=words, numbers=finding.numbers)


async def _repeat(work: Callable[[], Awaitable[object]], every_seconds: float) -> None:
    while True:
        try:
            await work()
        except CareError as error:
            log.warning("guard.cannot_look", error_code=str(error.code))
        except Exception:
            # A guard that has ended would be missed by nobody: it goes on, and health says that it sees nothing.
            log.exception("guard.fault")
        await asyncio.sleep(every_seconds)
