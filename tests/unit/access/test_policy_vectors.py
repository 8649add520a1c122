"""AuthZEN vectors beside table tests: decisions, batches and searches, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.notes_policies import tree

from seawall.access import read_policies
from seawall.access.review import verify
from seawall.access.review.bench import Bench
from seawall.access.review.tables import read_tables
from seawall.core.errors import Refused


def asked(who: str, action: str, on: str, kind: str = "note", **more: Any) -> dict[str, Any]:
    subject = {"type": "user", "id": who, "properties": {"roles": ["admin"]}}
    return {"subject": subject, "action": {"name": action}, "resource": {"type": kind, "id": on}, **more}


def folder(tmp_path: Path, document: Any, name: str = "notes.json") -> Path:
    made = tree(tmp_path / "p")
    (made / "tests" / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return made


def failed(tmp_path: Path, document: Any) -> list[tuple[int, str, str, str, str, str]]:
    report = verify(folder(tmp_path, document), mutate=False)
    assert all(one.file == "notes.json" for one in report.failed)
    return [(one.row, one.who, one.action, one.on, one.expected, one.got) for one in report.failed]


def test_decisions_batches_and_searches_that_hold(tmp_path: Path) -> None:
    document = {
        "evaluation": [
            {"request": asked("ann", "read", "hers"), "expected": True},
            {"request": asked("ed", "delete", "shown"), "expected": False},
            {"request": asked("adam", "delete", "shown"), "expected": False},
            {
                "request": {**asked("ed", "read", ""), "resource": {"type": "note"}},
                "expected": {"results": [{"type": "note", "id": "shown"}, {"type": "note", "id": "eves"}]},
            },
            {
                "request": {**asked("", "read", "shown"), "subject": {"type": "user"}},
                "expected": {"results": [{"type": "user", "id": "ed"}]},
            },
            {
                "request": {"subject": {"type": "user", "id": "ann"}, "resource": {"type": "note", "id": "hers"}},
                "expected": {"results": [{"name": "read"}, {"name": "delete"}]},
            },
        ],
        "evaluations": [
            {
                "request": {**asked("ann", "read", "hers"), "evaluations": [{}, {"action": {"name": "delete"}}]},
                "expected": [{"decision": True}, {"decision": True}],
            },
            {
                "request": {
                    **asked("ed", "read", "hers"),
                    "evaluations": [{}, {"action": {"name": "delete"}}],
                    "options": {"evaluations_semantic": "deny_on_first_deny"},
                },
                "expected": [{"decision": False}],
            },
        ],
    }
    made = folder(tmp_path, document)
    before = len(read_tables(tree(tmp_path / "without"), Bench(read_policies(tmp_path / "without"))).cases)
    report = verify(made, mutate=False)
    assert report.ok, report.document()
    assert report.cases == before + 3 + 3 + 4 + 2 + 2 + 1


def test_what_does_not_hold_is_told(tmp_path: Path) -> None:
    document = {
        "evaluation": [
            {"request": asked("ed", "read", "hers"), "expected": True},
            {
                "request": {**asked("ed", "read", ""), "resource": {"type": "note"}},
                "expected": {"results": [{"type": "note", "id": "hers"}]},
            },
        ]
    }
    assert failed(tmp_path, document) == [
        (1, "ed", "read", "hers", "allow", "deny"),
        (2, "ed", "read", "hers", "allow", "deny"),
        (2, "ed", "read", "shown", "not allow", "allow"),
        (2, "ed", "read", "eves", "not allow", "allow"),
    ]


def test_a_step_up_is_no_allow(tmp_path: Path) -> None:
    document = {"evaluation": [{"request": asked("adam", "delete", "shown"), "expected": True}]}
    assert failed(tmp_path, document) == [(1, "adam", "delete", "shown", "allow", "step-up")]


READ = asked("ann", "read", "hers")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("[", "it is not JSON"),
        ([], "not an object"),
        ({"evaluation": [], "more": []}, "not an object"),
        ({"evaluation": {}}, "evaluation is not a list"),
        ({"evaluation": [{"request": READ}]}, "vector 1 has no request, or expects nothing"),
        ({"evaluation": [{"request": READ, "expected": "yes"}]}, "vector 1 expects neither true, false nor results"),
        ({"evaluation": [{"request": asked("bob", "read", "hers"), "expected": False}]}, "no user 'bob' among"),
        ({"evaluation": [{"request": asked("ann", "read", "lost"), "expected": False}]}, "no note 'lost' among"),
        ({"evaluation": [{"request": asked("ann", "read", "hers", "memo"), "expected": False}]}, "no memo 'hers'"),
        ({"evaluation": [{"request": asked("ann", "fly", "hers"), "expected": False}]}, "no action 'fly'"),
        ({"evaluation": [{"request": {}, "expected": False}]}, "vector 1: subject"),
        ({"evaluation": [{"request": READ, "expected": {"results": []}}]}, "does not leave out exactly one"),
        (
            {
                "evaluation": [
                    {"request": {**READ, "resource": {"type": "note"}}, "expected": {"results": [{"id": "lost"}]}}
                ]
            },
            "expects \\['lost'\\], which is none of",
        ),
        ({"evaluations": [{"request": READ, "expected": [{"decision": True}]}]}, "not one question for each"),
        (
            {"evaluations": [{"request": {**READ, "evaluations": [{}, {}]}, "expected": [{"decision": True}]}]},
            "expects 1 decisions on 2 questions",
        ),
        ({"evaluations": [{"request": {**READ, "evaluations": [{}]}, "expected": [True]}]}, "something else than"),
    ],
)
def test_bad_vectors_are_refused(tmp_path: Path, document: Any, said: str) -> None:
    made = folder(tmp_path, document)
    with pytest.raises(Refused, match=rf"notes\.json: .*{said}"):
        read_tables(made, Bench(read_policies(made)))


def test_vectors_without_their_people_are_refused(tmp_path: Path) -> None:
    made = folder(tmp_path, {"evaluation": []}, "others.json")
    with pytest.raises(Refused, match=r"others\.json has no others\.yaml beside it"):
        read_tables(made, Bench(read_policies(made)))
