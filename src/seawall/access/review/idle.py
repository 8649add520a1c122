"""Policies that fail, and policies without a use: told from how they are written, and from the requests tried."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

from seawall.access.review.finding import Finding
from seawall.access.review.score import Pool, Tried, plainest
from seawall.access.review.written import Written, written

CERTAIN = {
    "unreachable": "no action of the schema on any kind of object is within its scope",
    "overruled": "whatever it permits, {} forbids, with fewer conditions",
    "shadowed": "whatever it says, {} says already, with fewer conditions",
}
SEEN = {
    "unreachable": "no request satisfies it",
    "overruled": "whatever it permits, a forbid refuses",
    "shadowed": "whatever it permits, another permit permits too",
}


def failures(pool: Pool) -> Iterator[Finding]:
    """Policies that fail at run time: everybody they concern is then denied."""
    found: dict[str, Tried] = {}
    for tried in pool:
        if tried.prepared is None or tried.outcome.reason != "evaluation-error":
            continue
        for seen in pool.sieve.seen(tried.prepared):
            for name in seen.failed:
                found.setdefault(name, tried)
    for name, tried in sorted(found.items()):
        yield Finding(
            "fails",
            "error",
            name,
            pool.bench.book.policies[name].file,
            f"{name} fails on {tried.space.action} {tried.space.type_name}: whoever that concerns is denied",
            "ask `has` before an optional attribute, and keep sums far from 9223372036854775807",
            plainest(tried, pool.bench, partial(pool.fails, name)),
        )


def idle(pool: Pool, failing: Collection[str]) -> Iterator[Finding]:
    """Policies that never decide, each said once: what is certain first, else what no request showed."""
    certain = {one.policy.id: one for one in written(pool.bench.book) if one.kind != "may-fail"}
    seen = _seen(pool)
    for policy in pool.bench.book.policies.values():
        one = certain.get(policy.id)
        if one is not None:
            what, fix = CERTAIN[one.kind].format(one.other), "take it out, or mend its scope or condition"
            yield Finding(one.kind, "warning", policy.id, policy.file, f"{policy.id}: {what}", fix)
        elif policy.id in seen:
            message = f"{policy.id}: {SEEN[seen[policy.id]]} (of {pool.size} requests tried)"
            yield Finding(
                seen[policy.id], "warning", policy.id, policy.file, message, "take it out, or mend its condition"
            )
    for one in written(pool.bench.book):
        if one.kind == "may-fail" and one.policy.id not in failing:
            yield _may_fail(one)


def _may_fail(one: Written) -> Finding:
    name = one.policy.id
    message = "it calculates: beyond 64 bits it fails, and whoever that concerns is denied"
    return Finding("may-fail", "note", name, one.policy.file, message, "keep its numbers far from 9223372036854775807")


def _seen(pool: Pool) -> dict[str, str]:
    """Permit → why it never decided: nothing satisfies it, a forbid overrules it, or others do the same."""
    reached: set[str] = set()
    effective: set[str] = set()
    alone: set[str] = set()
    for tried in pool:
        if tried.prepared is None:
            continue
        for seen in pool.sieve.seen(tried.prepared):
            permits = {name for name in seen.satisfied if pool.permits(name)}
            reached |= permits
            if permits and len(permits) == len(seen.satisfied):
                effective |= permits
                if len(permits) == 1:
                    alone |= permits
    return {
        name: "unreachable" if name not in reached else "overruled" if name not in effective else "shadowed"
        for name in pool.bench.book.policies
        if pool.permits(name) and name not in alone
    }
