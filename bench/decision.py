"""How long one decision takes: Seawall's, entities and all, beside casbin's on the same rules, in one run.

    python -m bench.decision

Prints CPU microseconds for each decision (the least of several rounds) and the ratio.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.access import COURIER, MANAGER, NORTH, Parcel, engine_for, parcel

ROUNDS, DECISIONS = 9, 400

MODEL = """
[request_definition]
r = sub, dom, obj, act
[policy_definition]
p = role, act, rule
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && r.obj.tenant == r.dom && g(r.sub.id, p.role, r.dom) && eval(p.rule)
"""
RULES = (
    ("manager", "read", "r.obj.venue in r.sub.venues"),
    ("courier", "read", "r.obj.courier == r.sub.id"),
    ("manager", "read_payment", "r.obj.venue in r.sub.venues"),
    ("manager", "refund", "r.obj.venue in r.sub.venues and r.obj.status != 'delivered'"),
    ("owner", "manage_team", "True"),
)


def main() -> None:
    ours = _ours()
    theirs = _casbin()
    print(f"seawall, one decision with its entities   {ours:7.1f} µs")
    if theirs is None:
        print("casbin is not installed: `uv sync --group bench`")
    else:
        print(f"casbin, the same rules                    {theirs:7.1f} µs   seawall is {theirs / ours:.2f}x as fast")


def _ours() -> float:
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_for(Path(folder) / "policies")
    ruling, things = engine.ruling(Parcel, "read"), [parcel() for _ in range(DECISIONS)]
    people = (MANAGER, COURIER)
    return _best(lambda n: engine.decide(people[n % 2], ruling, things[n]))


def _casbin() -> float | None:
    try:
        import casbin
    except ImportError:
        return None
    model = casbin.Enforcer.new_model(text=MODEL)
    enforcer = casbin.Enforcer(model)
    for rule in RULES:
        enforcer.add_policy(*rule)
    people = [_Thing(id=str(MANAGER.user_id), venues=[str(NORTH)]), _Thing(id=str(COURIER.user_id), venues=[])]
    tenant = str(MANAGER.tenant_id)
    for person, role in zip(people, ("manager", "courier"), strict=True):
        enforcer.add_grouping_policy(person.id, role, tenant)
    things = [
        _Thing(tenant=tenant, venue=str(p.venue_id), courier=None, status=p.status)
        for p in (parcel() for _ in range(DECISIONS))
    ]
    if not enforcer.enforce(people[0], tenant, things[0], "read") or enforcer.enforce(
        people[1], tenant, things[0], "read"
    ):
        raise SystemExit("casbin decides otherwise, so its time means nothing")
    return _best(lambda n: enforcer.enforce(people[n % 2], tenant, things[n], "read"))


class _Thing:
    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


def _best(decide: Callable[[int], object]) -> float:
    """CPU microseconds of one call: the least of the rounds, because others share the machine."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for n in range(DECISIONS):
            decide(n)
        best = min(best, time.process_time() - begun)
    return best / DECISIONS * 1e6


if __name__ == "__main__":
    main()
