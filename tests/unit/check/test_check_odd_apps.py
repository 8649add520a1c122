"""An app that cannot be judged is unproven, control by control, with a reason that says what the app did."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seawall_check.config import load
from seawall_check.control import discover
from seawall_check.run import check
from seawall_check.start import Change

PROVE = pytest.mark.prove
SETTINGS = """
[app]
name = "odd"
module = "odd_app:app"

[check]
start = ["python", "odd_app.py"]

[check.routes]
"GET /api/notes" = { allow = ["owner", "writer"] }
"POST /api/notes" = { allow = ["owner"], body = { text = "x" } }
"GET /api/notes/{note_id}" = { allow = ["owner", "writer"] }
"DELETE /api/notes/{note_id}" = { allow = ["owner"] }

[check.step_up]
route = "POST /api/notes"
role = "owner"
below = { text = "a" }
above = { text = "b" }

[check.approval]
route = "POST /api/notes"
role = "writer"
approver = "owner"
body = { text = "a" }

[check.admin]
grant = "POST /api/notes"
take = "DELETE /api/notes/{note_id}"
body = { text = "{role}" }
highest = "owner"
lowest = "writer"

[check.break_glass]
read = "GET /api/notes/{note_id}"

[check.fields."GET /api/notes/{note_id}".writer]
present = ["id"]
absent = ["secret"]
"""


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("html"),
        pytest.param("empty", marks=PROVE),
        pytest.param("500", marks=PROVE),
        pytest.param("garbage", marks=PROVE),
        pytest.param("slam", marks=PROVE),
        pytest.param("hang", marks=PROVE),  # twenty seconds for each first request: minutes
    ],
)
async def test_nothing_of_it_passes_or_fails(tmp_path: Path, mode: str) -> None:
    shutil.copy(Path(__file__).parent / "odd_app.py", tmp_path)
    (tmp_path / "seawall.toml").write_text(SETTINGS)
    report = await check(load(tmp_path), discover(), change=Change({"ODD": mode}))
    assert report.exit_code == 2
    told = {one.control.id: f"{one.verdict}: {one.why}" for one in report.results}
    assert {name: said for name, said in told.items() if not said.startswith("unproven: ")} == {}
    assert {name: said for name, said in told.items() if "the check itself broke" in said} == {}
