"""The report as SARIF 2.1.0, for code scanning. The rule id is the control's id.

Only what did not hold is a problem (`kind: fail` or `open`); what passed is recorded with `kind: pass`, `level: none`,
so that a reader sees that it was tried (SARIF 2.1.0 §3.27.9, §3.27.10).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import Any

from seawall_check.config import CONFIG_FILE
from seawall_check.prose import paragraphs, parse
from seawall_check.run import Report, Result

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
KINDS = {"pass": ("pass", "none"), "fail": ("fail", "error"), "unproven": ("open", "none"), "waived": ("fail", "error")}


def render(report: Report) -> str:
    run = {
        "tool": {
            "driver": {
                "name": "seawall check",
                "version": _version(),
                "rules": [_rule(result) for result in report.results],
            }
        },
        "automationDetails": {"id": f"seawall-check/{report.app}"},
        "invocations": [{"executionSuccessful": True, "exitCode": report.exit_code}],
        "results": [_result(index, result) for index, result in enumerate(report.results)],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(result: Result) -> dict[str, Any]:
    prose = parse(result.doc)
    fix = " ".join(paragraphs(prose.section("How to fix")))
    rule: dict[str, Any] = {
        "id": result.control.id,
        "name": result.control.id.replace("/", "-"),
        "shortDescription": {"text": result.control.title},
        "fullDescription": {"text": " ".join(paragraphs(prose.section("Why"))) or result.control.title},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", *result.control.refs]},
    }
    if fix:
        rule["help"] = {"text": fix}
    return rule


def _result(index: int, result: Result) -> dict[str, Any]:
    kind, level = KINDS[result.verdict]
    wrong = [one for one in result.evidence if not one.ok]
    found: dict[str, Any] = {
        "ruleId": result.control.id,
        "ruleIndex": index,
        "kind": kind,
        "level": level,
        "message": {"text": result.why or f"{result.control.title}: held in {len(result.evidence)} attempts"},
        # The finding is about a running app; its settings file is the one place that every app has.
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": CONFIG_FILE}, "region": {"startLine": 1}}}],
        "partialFingerprints": {"control/v1": hashlib.sha256(result.control.id.encode()).hexdigest()},
        "properties": {
            "verdict": result.verdict,
            "attempts": len(result.evidence),
            "failed": [
                {"attempt": one.attempt, "expected": one.expected, "observed": one.observed} for one in wrong[:50]
            ],
        },
    }
    if result.waiver is not None and result.verdict == "waived":
        justification = f"{result.waiver.why} (until {result.waiver.until.isoformat()})"
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": justification}]
    return found


def _version() -> str:
    try:
        return importlib.metadata.version("seawall")
    except importlib.metadata.PackageNotFoundError:
        return "0"
