"""The command: its exit codes, its outputs, and what it says when it cannot run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seawall_check", *arguments],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_list_and_explain() -> None:
    listed = run("list")
    assert listed.returncode == 0
    assert "tenancy/rls-forced" in listed.stdout
    explained = run("explain", "tenancy/rls-forced")
    assert explained.returncode == 0
    assert "How it is attacked" in explained.stdout
    assert "ASVS 8.4.1" in explained.stdout


def test_help_shows_examples() -> None:
    told = run("--help")
    assert told.returncode == 0
    assert "seawall check --format sarif --output check.sarif" in told.stdout
    assert "3 the check could not run" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "tenancy/rls-force"], "did you mean tenancy/rls-forced"),
        (["--only", "tenanci"], "did you mean tenancy"),
        (["--only", "leak-sweep"], "tenancy/leak-sweep"),
        (["--format", "pdf"], "one of text, json, html, sarif"),
        (["--report", "json"], "--report json=build/report.json"),
        (["explain"], "explain which control?"),
        (["one", "two"], "one folder at a time"),
        (["--nonsense"], "nonsense"),
        ([], "has no seawall.toml"),
    ],
)
def test_what_cannot_run_is_exit_code_3_with_the_fix(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = run(*arguments, folder=tmp_path, COLUMNS="200")
    assert done.returncode == 3
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[check", "is not TOML"),
        ("[check]\nstart = 'x'", "does not say how to start"),
        ("[check]\nstart = ['x']\n[[check.waivers]]\nid = 'web/csrf'\nwhy = 'long enough'", "a date `until`"),
        ("[check]\nstart = ['x']\n[[check.waivers]]\nid = 'web/csrf'\nuntil = 2027-01-01\nwhy = 'no'", "no reason"),
        (
            "[check]\nstart = ['x']\n[[check.waivers]]\nid = 'web/crsf'\nuntil = 2027-01-01\nwhy = 'long enough'",
            "which is no control",
        ),
        ("[check]\nstart = ['no-such-command']", "cannot run 'no-such-command'"),
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, toml: str, told: str) -> None:
    (tmp_path / "seawall.toml").write_text(toml)
    done = run(folder=tmp_path, COLUMNS="200")
    assert done.returncode == 3
    assert told in done.stderr


def test_several_reports_in_one_run_and_no_colour_outside_a_terminal(notes: Path) -> None:
    done = run(
        str(notes), "--only", "tenancy/rls-forced", "--report", "json=out/r.json", "--report", "html=out/r.html",
        "--format", "sarif", "--output", "out/r.sarif", folder=notes.parent,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "unproven" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    out = notes.parent / "out"
    (control,) = json.loads((out / "r.json").read_text())["controls"]
    assert (control["verdict"], control["why"]) == ("unproven", "target.json names no database")
    assert "could not be proven" in (out / "r.html").read_text()
    assert json.loads((out / "r.sarif").read_text())["runs"][0]["results"][0]["kind"] == "open"


def test_an_app_that_refuses_to_start_is_shown_with_its_words(notes: Path) -> None:
    done = run(str(notes), NOTES_REFUSE="1")
    assert done.returncode == 3
    assert "a route declares nothing" in done.stderr


def test_json_goes_to_standard_output_alone(notes: Path) -> None:
    done = run(str(notes), "--only", "tenancy/rls-forced", "--format", "json")
    assert json.loads(done.stdout)["app"] == "notes"
