"""What is shown of a check: one module a format, each with `render(report) -> str`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from seawall_check.errors import CheckError

if TYPE_CHECKING:
    from seawall_check.run import Report

FORMATS = ("text", "json", "html", "sarif")


def render(report: Report, kind: str) -> str:
    """The report in one of `FORMATS`.

    Raises:
        CheckError: for another format.
    """
    if kind not in FORMATS:
        raise CheckError(f"no report format is called {kind!r}", fix=f"one of {', '.join(FORMATS)}")
    module = importlib.import_module(f"{__name__}.{kind}")
    text: str = module.render(report)
    return text


def write(report: Report, kind: str, path: Path) -> None:
    """Write a report; its folder is made when it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(report, kind), "utf-8")
