"""The table tests, decided by Rego: the same tests, the same answers."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.notes_policies import tree
from typer.testing import CliRunner

from seawall.access.review import verify
from seawall.cli import application

REGO = """package seawall

annotations["wall.tenant"] := {"title": "Nobody reads another tenant's notes", "owner": "platform", "wall": ""}
annotations["note.own"] := {"title": "Authors read and delete their own small notes", "owner": "notes"}
annotations["note.shared"] := {"title": "Editors read what is shared", "owner": "notes"}
annotations["note.purge"] := {"title": "Admins delete", "owner": "notes", "step_up": "aal=2,max_age_s=60"}

forbid contains "wall.tenant" if input.resource.tenant != input.principal.tenant
permit contains "note.own" if {
    input.action in {"read", "delete"}
    input.resource.author == input.principal.id
    input.resource.size <= 100
}
permit contains "note.shared" if {
    input.action == "read"
    "editor" in input.principal.roles
    input.resource.shared
}
permit contains "note.purge" if {
    input.action == "delete"
    "admin" in input.principal.roles
    input.context.step_up
}
"""


def rego(folder: Path, text: str = REGO) -> Path:
    made = tree(folder)
    (made / "notes.cedar").unlink()
    (made / "notes.rego").write_text(text)
    return made


def test_the_same_tests_hold_in_rego(tmp_path: Path) -> None:
    cedar = verify(tree(tmp_path / "cedar"), mutate=False)
    report = verify(rego(tmp_path / "rego"), language="rego")
    assert report.ok, report.document()
    assert (report.cases, report.walls, report.score) == (cedar.cases, ("wall.tenant",), None)
    assert report.document()["engine"] == "rego"


def test_a_mistake_in_rego_is_told_and_a_wall_is_missed(tmp_path: Path) -> None:
    report = verify(rego(tmp_path / "wide", REGO.replace("<= 100", "<= 500")), language="rego")
    assert {(one.who, one.action, one.on) for one in report.failed} == {
        ("ann", "read", "hers"),
        ("ann", "delete", "hers"),
    }
    gone = REGO.replace(', "wall": ""', "")
    assert "wall-removed" in {one.code for one in verify(rego(tmp_path / "gone", gone), language="rego").findings}


def test_the_command(tmp_path: Path) -> None:
    made = rego(tmp_path / "app" / "policies")
    shown = CliRunner().invoke(application(), ["policy", "test", str(made), "--engine", "rego"])
    assert shown.exit_code == 0, shown.output
    assert "Rego: table tests only" in shown.output
    as_json = CliRunner().invoke(application(), ["policy", "test", str(made), "--engine", "rego", "--json"])
    assert json.loads(as_json.stdout)["differential"] is None
    assert CliRunner().invoke(application(), ["policy", "test", str(made), "--engine", "prolog"]).exit_code != 0
