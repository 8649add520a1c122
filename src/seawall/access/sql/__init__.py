"""Policies as SQL: what a caller may see of a table, as a WHERE.

    filter.py       permits, forbids and errors put together: `RowFilter`
    compiler.py     Cedar's constructs, one method each; what is not there is refused when the app starts
    operations.py   its operators: what each takes
    nodes.py        a compiled part: its type and how it is folded for one request
    cells.py        a folded part: its value, and where it errs; Cedar's two truths on SQL's three
    columns.py      which columns compare in SQL as they do in Cedar
    numbers.py, sets.py, known.py      arithmetic and time; equality, sets, hierarchy; values known beforehand

Start with `filter.py` for the rule, `cells.py` for why NULL never decides.
"""

from __future__ import annotations

from seawall.access.sql.filter import RowFilter

__all__ = ["RowFilter"]
