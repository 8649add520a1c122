"""Policies as code, looked at from outside the running app: tests, mutation score, differences.

    verify()       `seawall policy test`
    compare()      `seawall policy diff`

`bench.py` asks the engine about made-up people and objects; start there. `boundary.py` makes up the requests worth
asking, `tables.py` reads those that people wrote, `score.py` measures what these would notice, and `differential.py`
compares lists with decisions on made-up rows.
"""

from __future__ import annotations

from seawall.access.review.base import read_base
from seawall.access.review.difference import Difference, compare
from seawall.access.review.finding import Finding
from seawall.access.review.score import Witness
from seawall.access.review.verify import FLOOR, Language, Report, Step, verify

__all__ = ["FLOOR", "Difference", "Finding", "Language", "Report", "Step", "Witness", "compare", "read_base", "verify"]
