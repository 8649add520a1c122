"""Breaking access/policy-as-code: a differ that sees nothing, a tester that passes anything, other policies."""

from __future__ import annotations

from typing import Any

import pytest

HERE = {"PYTHONPATH": "."}
"""So that the commands in the app's folder run what is planted there, before anything else."""


@pytest.mark.prove
async def test_a_differ_that_sees_nothing(sabotage: Any) -> None:
    await sabotage(
        "access/policy-as-code",
        plant={
            "sitecustomize.py": """
import seawall.access.review.difference as d

d._Comparison._look = lambda self, tried: None
"""
        },
        env=HERE,
        trips={"access/policy-as-code"},
    )


@pytest.mark.prove
async def test_a_tester_that_passes_anything(sabotage: Any) -> None:
    await sabotage(
        "access/policy-as-code",
        plant={
            "sitecustomize.py": """
import sys

import seawall.access.review

# not `import … as v`: that would be the function of the same name, which the package gives out
v = sys.modules["seawall.access.review.verify"]
v.Report.ok = property(lambda self: True)
v._failed = lambda *given: iter(())
"""
        },
        env=HERE,
        trips={"access/policy-as-code"},
    )


@pytest.mark.prove
async def test_policies_that_are_not_those_of_the_tree(sabotage: Any) -> None:
    await sabotage(
        "access/policy-as-code",
        python="""
import seawall.access as a

whole = a.read_policies

def elsewhere(folder):
    import shutil, tempfile
    from pathlib import Path

    copy = Path(tempfile.mkdtemp()) / "policies"
    shutil.copytree(folder, copy)
    more = '@id("more") @title("more") forbid (principal, action, resource) when { false };'
    (copy / "more.cedar").write_text(more)
    return whole(copy)

a.read_policies = elsewhere
""",
        trips={"access/policy-as-code"},
    )
