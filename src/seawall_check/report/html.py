"""The report as one HTML page to show to a customer: no script, no asset from anywhere, light and dark, prints well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from seawall_check.prose import SECTIONS, Prose, paragraphs, parse
from seawall_check.run import Report, Result
from seawall_check.trial import VERDICTS, Evidence

HERE = Path(__file__).parent
ARTIFACTS_SHOWN_MAX = 12
"""A control. Those of attempts that did not hold come first; the hash stands beside every one."""
EVIDENCE_SHOWN_MAX = 400
WORDS = {"pass": "Pass", "fail": "Fail", "unproven": "Unproven", "waived": "Waived"}
TITLES = {
    "identity": "who is calling",
    "access": "what they may do",
    "tenancy": "whose data it is",
    "privacy": "personal data",
    "payments": "money",
    "webhooks": "signed events in and out",
    "ai": "the model is not trusted",
    "supply": "what the app is made of",
    "audit": "what happened",
    "response": "noticing and acting",
    "traffic": "load and abuse",
    "transport": "between machines",
    "secrets": "keys and passwords of the app",
    "web": "the browser edge",
}


@dataclass(frozen=True)
class Shown:
    """One row of evidence as the page shows it."""

    evidence: Evidence
    artifact: str


@dataclass(frozen=True)
class Card:
    """One control as the page shows it."""

    result: Result
    prose: Prose
    rows: tuple[Shown, ...]
    hidden: int

    @property
    def anchor(self) -> str:
        return self.result.control.id.replace("/", "-")

    @property
    def sections(self) -> list[tuple[str, list[str]]]:
        return [(name, paragraphs(self.prose.section(name))) for name in SECTIONS if self.prose.section(name)]


def render(report: Report) -> str:
    cards = [_card(result) for result in report.results]
    groups = [
        (heading, TITLES.get(heading, ""), list(members))
        for heading, members in groupby(cards, key=lambda card: card.result.control.id.partition("/")[0])
    ]
    return _template().render(
        report=report,
        groups=groups,
        counts=[(verdict, WORDS[verdict], report.count(verdict)) for verdict in VERDICTS],
        words=WORDS,
        attempts=sum(len(result.evidence) for result in report.results),
        troubles=[card for card in cards if card.result.verdict != "pass"],
        style=(HERE / "report.css").read_text("utf-8"),
    )


def _code(text: str) -> Markup:
    """`x` in prose as <code>x</code>; everything else escaped."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just here


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    return environment.get_template("report.html.j2")


def _card(result: Result) -> Card:
    rows = sorted(result.evidence, key=lambda one: one.ok)
    shown: list[Shown] = []
    artifacts = 0
    for one in rows[:EVIDENCE_SHOWN_MAX]:
        text = result.artifacts.get(one.artifact_sha256, "") if artifacts < ARTIFACTS_SHOWN_MAX else ""
        artifacts += bool(text)
        shown.append(Shown(one, text))
    return Card(result, parse(result.doc), tuple(shown), len(rows) - len(shown))
