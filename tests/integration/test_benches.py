"""Every bench still runs, with as little work as it can be given: `make prove` reads figures, here breakage is told.

`bench.request` needs wrk, which only a machine that measures has.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os

import pytest

LITTLE = {
    "admission": {"ROUNDS": 2, "CALLS": 10, "SESSIONS": 50},
    "decision": {"ROUNDS": 2, "DECISIONS": 20},
    "list_filter": {"ROUNDS": 2, "LISTS": 3, "TENANTS": 3, "ROWS_EACH": 200},
    "refresh": {},
    "sealed": {"ROUNDS": 2, "TIMES": 50},
    "sign_in": {"ROUNDS": 1, "ROUND_S": 1, "FLOOD": 2},
    "tenants": {"MANY": 30, "ROUNDS": 4, "TIMES": 5},
    "tokens": {"ROUNDS": 2, "CALLS": 20},
}


@pytest.mark.parametrize("name", LITTLE)
async def test_it_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before, bench = dict(os.environ), importlib.import_module(f"bench.{name}")
    for constant, little in LITTLE[name].items():
        assert hasattr(bench, constant)
        monkeypatch.setattr(bench, constant, little)
    arguments = {"rounds": 4, "seed": 7} if name == "refresh" else {}
    if inspect.iscoroutinefunction(bench.main):
        await bench.main(**arguments)
    else:
        await asyncio.to_thread(bench.main)
    assert capsys.readouterr().out.strip()
    assert dict(os.environ) == before  # apps that later tests start would have it too
