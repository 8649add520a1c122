"""What a report shows: the agreed JSON, valid SARIF, an HTML page that needs nothing and runs nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from html.parser import HTMLParser

import pytest

from seawall_check import report as reports
from seawall_check.config import Waiver
from seawall_check.control import Control
from seawall_check.errors import CheckError
from seawall_check.prose import paragraphs, parse
from seawall_check.run import Report, Result
from seawall_check.trial import Trial

DOC = """Everything is authorised.

Why
    Because `id + 1` is
    easy to guess.

How it is attacked
    By guessing.

How to fix
    Use `may()`.
"""
NASTY = "<script>alert(1)</script>"


def result(name: str, *, ok: bool = True, waiver: Waiver | None = None, unproven: bool = False) -> Result:
    trial = Trial()
    trial.expect(f"read {NASTY}", expected="404", observed="404" if ok else "200", ok=ok, artifact=f"GET /{NASTY}")
    if unproven:
        trial.unproven("there is no courier")
    verdict, why = trial.verdict()
    if waiver is not None:
        verdict = "waived"
    control = Control(id=name, title="Everything is authorised", refs=("ASVS 8.2.2",))
    return Result(control, DOC, verdict, why, 0.5, tuple(trial.evidence), trial.artifacts, waiver)


def report(*results: Result) -> Report:
    return Report("shop", "https://localhost:1", datetime(2026, 11, 23, 12, 0, tzinfo=UTC), 12.5, 3.0, results)


@pytest.fixture
def mixed() -> Report:
    waiver = Waiver("web/headers", date(2027, 1, 31), "the old widget")
    return report(
        result("identity/cookies"),
        result("access/object-level", ok=False),
        result("access/field-level", unproven=True),
        result("web/headers", ok=False, waiver=waiver),
    )


def test_json_is_as_agreed(mixed: Report) -> None:
    document = json.loads(reports.render(mixed, "json"))
    assert document["app"] == "shop"
    first = document["controls"][0]
    assert {"id", "title", "verdict", "seconds", "evidence"} <= set(first)
    assert {"attempt", "expected", "observed", "artifact_sha256"} <= set(first["evidence"][0])
    assert re.fullmatch("[0-9a-f]{64}", first["evidence"][0]["artifact_sha256"])
    assert document["summary"] == {
        "controls": 4,
        "pass": 1,
        "fail": 1,
        "unproven": 1,
        "waived": 1,
        "exit_code": 1,
    }
    assert document["controls"][3]["waiver"] == {"until": "2027-01-31", "why": "the old widget"}


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ((), 2),
        ((result("a/b"),), 0),
        ((result("a/b"), result("a/c", ok=False)), 1),
        ((result("a/b"), result("a/c", unproven=True)), 2),
        ((result("a/b", ok=False), result("a/c", unproven=True)), 1),
        ((result("a/b", ok=False, waiver=Waiver("a/b", date(2027, 1, 1), "until the rewrite")),), 0),
    ],
)
def test_exit_codes(results: tuple[Result, ...], code: int) -> None:
    assert report(*results).exit_code == code


def test_sarif_names_rules_by_control(mixed: Report) -> None:
    document = json.loads(reports.render(mixed, "sarif"))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[one["ruleIndex"]] for one in run["results"]] == [one["ruleId"] for one in run["results"]]
    kinds = {one["ruleId"]: (one["kind"], one["level"]) for one in run["results"]}
    assert kinds == {
        "identity/cookies": ("pass", "none"),
        "access/object-level": ("fail", "error"),
        "access/field-level": ("open", "none"),
        "web/headers": ("fail", "error"),
    }
    assert all(one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"])
    assert [one["ruleId"] for one in run["results"] if one.get("suppressions")] == ["web/headers"]


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_html_needs_nothing_and_runs_nothing(mixed: Report) -> None:
    html = reports.render(mixed, "html")
    seen = Elements(html).seen
    assert not [tag for tag, _ in seen if tag in {"script", "link", "img", "iframe", "object"}]
    assert not [name for _, attrs in seen for name in attrs if name in {"src", "srcset"} or name.startswith("on")]
    assert all(attrs["href"].startswith("#") for tag, attrs in seen if tag == "a" and attrs.get("href"))
    assert "url(" not in html
    assert NASTY not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_html_shows_each_control_with_its_evidence(mixed: Report) -> None:
    html = reports.render(mixed, "html")
    assert "1 of 4 controls did not hold." in html
    for one in mixed.results:
        assert f'id="{one.control.id.replace("/", "-")}"' in html
        assert all(evidence.artifact_sha256 in html for evidence in one.evidence)
    assert "Waived until 31 January 2027." in html
    assert "Because <code>id + 1</code> is easy to guess." in html


def test_a_clean_report_says_so() -> None:
    assert "All 1 controls held under attack." in reports.render(report(result("a/b")), "html")
    assert "Nothing was tried." in reports.render(report(), "html")


def test_text_shows_what_did_not_hold(mixed: Report) -> None:
    text = reports.render(mixed, "text")
    assert "observed  200" in text
    assert "because   there is no courier" in text
    assert "waived until 2027-01-31: the old widget" in text
    assert "1 pass · 1 fail · 1 unproven · 1 waived" in text
    assert "\x1b" not in text


def test_an_unknown_format_is_refused(mixed: Report) -> None:
    with pytest.raises(CheckError, match="pdf"):
        reports.render(mixed, "pdf")


def test_prose_is_read_in_parts() -> None:
    prose = parse(DOC)
    assert prose.title == "Everything is authorised"
    assert [name for name, _ in prose.sections] == ["Why", "How it is attacked", "How to fix"]
    assert prose.section("How to fix") == "Use `may()`."
    assert paragraphs("one\ntwo\n\n- a\n- b") == ["one two", "- a\n- b"]
    assert parse("T.\n\nWhy: short.").section("Why") == "short."
