"""Every process must collect the same tests: two workers that disagree end the whole run before its first test."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.conftest import REPOSITORY


def test_another_process_collects_the_same_tests(request: pytest.FixtureRequest) -> None:
    # With another clock, other random numbers and another order of sets: an id that is made of any of them (a value
    # without a name, computed when its module is imported) always differs here, and not in one run of ten.
    command = [sys.executable, "-m", "pytest", "--collect-only", "--prove", "-p", "tests.support.another_day"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [*command, "-q", "tests"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = {line for line in done.stdout.splitlines() if "::" in line}
    ours = {item.nodeid for item in request.session.items}
    assert ours - theirs == set()
