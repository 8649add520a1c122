"""The report as JSON, for machines. Members are only ever added."""

from __future__ import annotations

import json
from typing import Any

from seawall_check.run import Report, Result
from seawall_check.trial import VERDICTS


def document(report: Report) -> dict[str, Any]:
    return {
        "version": 1,
        "app": report.app,
        "begun": report.begun.isoformat(timespec="seconds"),
        "seconds": round(report.seconds, 3),
        "start_seconds": round(report.start_s, 3),
        "controls": [_control(result) for result in report.results],
        "summary": {
            "controls": len(report.results),
            **{verdict: report.count(verdict) for verdict in VERDICTS},
            "exit_code": report.exit_code,
        },
    }


def _control(result: Result) -> dict[str, Any]:
    control: dict[str, Any] = {
        "id": result.control.id,
        "title": result.control.title,
        "verdict": result.verdict,
        "seconds": round(result.seconds, 3),
        "evidence": [
            {
                "attempt": one.attempt,
                "expected": one.expected,
                "observed": one.observed,
                "artifact_sha256": one.artifact_sha256 or None,
                "kind": one.kind,
                "ok": one.ok,
            }
            for one in result.evidence
        ],
        "refs": list(result.control.refs),
        "why": result.why,
    }
    if result.waiver is not None:
        control["waiver"] = {"until": result.waiver.until.isoformat(), "why": result.waiver.why}
    return control


def render(report: Report) -> str:
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"
