"""One whole check: start the app, run the controls, compute the verdicts.

Controls share one running app and its signed-in personas, and run a few at a time; those that declare `exclusive` run
alone, at the end. A control that raises, or does not finish in time, is `unproven` with the reason. It never passes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import httpx2

from seawall_check.config import CheckConfig, Waiver
from seawall_check.control import Control, Found
from seawall_check.errors import DidNotStart, Unproven
from seawall_check.redact import Redactor
from seawall_check.start import Change
from seawall_check.target import Target, opened
from seawall_check.trial import Evidence, Trial, Verdict

CONTROLS_AT_ONCE = 4


@dataclass(frozen=True)
class Result:
    """What became of one control."""

    control: Control
    doc: str
    verdict: Verdict
    why: str
    seconds: float
    evidence: tuple[Evidence, ...] = ()
    artifacts: dict[str, str] = field(default_factory=dict)
    waiver: Waiver | None = None
    source: str = ""
    """The control's file, relative to the package."""


@dataclass(frozen=True)
class Report:
    """One check of one app."""

    app: str
    base_url: str
    begun: datetime
    seconds: float
    start_s: float
    results: tuple[Result, ...]

    def count(self, verdict: Verdict) -> int:
        return sum(result.verdict == verdict for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 all pass or are waived, 1 a fail, 2 something unproven or nothing tried."""
        if self.count("fail"):
            return 1
        return 2 if self.count("unproven") or not self.results else 0


class Watcher:
    """Told of what happens, for progress. The default stays silent."""

    def starting(self, controls: int) -> None: ...

    def started(self, app: str, seconds: float) -> None: ...

    def begin(self, control: Control) -> None: ...

    def end(self, result: Result) -> None: ...


async def check(
    config: CheckConfig,
    controls: Sequence[Found],
    *,
    watcher: Watcher | None = None,
    change: Change | None = None,
    today: date | None = None,
) -> Report:
    """Start the app and run the controls on it.

    Raises:
        CheckError: the app does not start, or cannot be read; the check could not run at all.
    """
    watcher = watcher or Watcher()
    begun, clock = datetime.now(UTC), time.monotonic()
    watcher.starting(len(controls))
    async with opened(config, Redactor(), change=change) as target:
        start_s = time.monotonic() - clock
        watcher.started(target.app, start_s)
        results = await judge(target, controls, watcher=watcher, today=today)
        app, base_url = target.app, target.base_url
    return Report(app, base_url, begun, time.monotonic() - clock, start_s, results)


async def judge(
    target: Target, controls: Sequence[Found], *, watcher: Watcher | None = None, today: date | None = None
) -> tuple[Result, ...]:
    """Run controls on an app that is already running. Results come in the order of `controls`."""
    watcher = watcher or Watcher()
    slots = asyncio.Semaphore(CONTROLS_AT_ONCE)

    async def one(found: Found) -> Result:
        async with slots:
            watcher.begin(found.control)
            result = await judge_one(target, found, today=today)
            watcher.end(result)
            return result

    together = [found for found in controls if not found.control.exclusive]
    results = {found.id: result for found, result in zip(together, await _gather(one, together), strict=True)}
    for found in controls:
        if found.control.exclusive:
            results[found.id] = await one(found)
            target.forget_clients()
    return tuple(results[found.id] for found in controls)


async def _gather(one: Callable[[Found], Coroutine[Any, Any, Result]], controls: Sequence[Found]) -> list[Result]:
    # The slow ones first, so that the last slot does not wait for one that began late.
    tasks = {found.id: asyncio.ensure_future(one(found)) for found in sorted(controls, key=_slow_first)}
    try:
        return [await tasks[found.id] for found in controls]
    finally:
        for task in tasks.values():
            task.cancel()


def _slow_first(found: Found) -> float:
    return -found.control.timeout_s


async def judge_one(target: Target, found: Found, *, today: date | None = None) -> Result:
    """Run one control; whatever it does, there is a verdict."""
    trial = Trial(target.redactor)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(found.control.timeout_s):
            await found.check(target, trial)
    except Unproven as reason:
        trial.unproven(str(reason))
    except DidNotStart as refusal:
        trial.unproven(f"a variant did not start: {refusal.what}: {refusal.why}")
    except TimeoutError:
        trial.unproven(f"it did not finish within {found.control.timeout_s:.0f} s")
    except Exception as error:  # a control that breaks has proven nothing
        trial.unproven(_broken(error))
    verdict, why = trial.verdict()
    waiver = _waiver(target.config, found.id, today or datetime.now(UTC).date())
    if waiver is not None and verdict in {"fail", "unproven"}:
        verdict, why = "waived", f"{verdict}: {why}"
    source = f"src/seawall_check/controls/{found.heading}/{found.path.name}"
    seconds = time.monotonic() - begun
    return Result(
        found.control, found.doc, verdict, why, seconds, tuple(trial.evidence), trial.artifacts, waiver, source
    )


def _waiver(config: CheckConfig, control_id: str, today: date) -> Waiver | None:
    return next((one for one in config.waivers if one.id == control_id and one.live(today)), None)


def _broken(error: Exception) -> str:
    """Why a control could not go on. An app that does not answer, or not in JSON, is no fault of the check's."""
    if isinstance(error, httpx2.TimeoutException):
        return f"the app did not answer in time ({_where(error)}{type(error).__name__})"
    if isinstance(error, httpx2.TransportError):
        return f"the app cannot be reached, or breaks off: {error} ({_where(error)}{type(error).__name__})"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"an answer that has to be JSON is none ({_where(error)}{error})"
    return f"the check itself broke: {_where(error)}{type(error).__name__}: {error}"


def _where(error: BaseException) -> str:
    """File and line of the control where it broke."""
    place = error.__traceback__
    found = ""
    while place is not None:
        name = place.tb_frame.f_code.co_filename
        if "controls" in name:
            found = f"{name.rpartition('/')[2]}:{place.tb_lineno}: "
        place = place.tb_next
    return found
