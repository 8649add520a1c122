"""The `[check]` table of an app's `seawall.toml`: how to start it, what is waived, what only its author can state."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from seawall_check.errors import CheckError

CONFIG_FILE = "seawall.toml"
READY_TIMEOUT_DEFAULT_S = 60.0
WHY_LENGTH_MIN = 8


@dataclass(frozen=True)
class Waiver:
    """A control that may fail until a day, for a reason. From the day after, it counts as what it is again."""

    id: str
    until: date
    why: str

    def live(self, today: date) -> bool:
        return today <= self.until


@dataclass(frozen=True)
class CheckConfig:
    """What the judge reads from the app's folder.

    Args:
        root: the app's folder; the start command runs in it.
        start: the command that starts the app on a scratch database.
        table: the whole `[check]` table, for controls: `routes`, `step_up`, `fields`.
        app_module: `[app] module`, so that a planted wrapper knows what it wraps.
    """

    root: Path
    start: tuple[str, ...]
    app: str = "app"
    app_module: str = "app:app"
    ready_timeout_s: float = READY_TIMEOUT_DEFAULT_S
    waivers: tuple[Waiver, ...] = ()
    table: dict[str, Any] = field(default_factory=dict)


def load(root: Path) -> CheckConfig:
    """Read `seawall.toml` of the app's folder.

    Raises:
        CheckError: when there is none, it is not TOML, or `[check]` does not say how to start the app.
    """
    path = root / CONFIG_FILE
    if not path.is_file():
        raise CheckError(
            f"{root} has no {CONFIG_FILE}",
            why="its [check] table says how to start the app on a scratch database",
            fix=f"run `seawall check` in the app's folder, or write {CONFIG_FILE} (docs/target.md)",
        )
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CheckError(f"{path} is not TOML: {error}", fix="correct the line it names") from None
    table = document.get("check", {})
    start = table.get("start") if isinstance(table, dict) else None
    if not isinstance(start, list) or not start or not all(isinstance(part, str) for part in start):
        raise CheckError(
            f"{path} does not say how to start the app",
            fix='[check]\nstart = ["seawall", "dev", "--scratch", "--port", "0"]',
        )
    section = document.get("app", {})
    return CheckConfig(
        root=root.resolve(),
        start=tuple(start),
        app=str(section.get("name", root.resolve().name)),
        app_module=str(section.get("module", "app:app")),
        ready_timeout_s=float(table.get("ready_timeout_s", READY_TIMEOUT_DEFAULT_S)),
        waivers=tuple(_waivers(path, table.get("waivers", []))),
        table=table,
    )


def _waivers(path: Path, rows: Any) -> Iterable[Waiver]:
    if not isinstance(rows, list):
        raise CheckError(f"{path}: check.waivers is not a list of tables", fix="[[check.waivers]]")
    for row in rows:
        until, why, name = row.get("until"), str(row.get("why", "")), row.get("id")
        if not isinstance(name, str) or not isinstance(until, date) or isinstance(until, datetime):
            raise CheckError(
                f"{path}: a waiver needs `id` and a date `until`",
                why="a waiver that never ends is a control that was given up",
                fix='[[check.waivers]]\nid = "web/headers"\nuntil = 2027-01-31\nwhy = "…"',
            )
        if len(why.strip()) < WHY_LENGTH_MIN:
            raise CheckError(f"{path}: the waiver of {name} gives no reason", fix='why = "…"')
        yield Waiver(name, until, why.strip())
