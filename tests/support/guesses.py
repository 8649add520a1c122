"""Policies that nobody would write, generated: every construct of Cedar that may filter lists, nested at random.

They are typed, so that most of them pass Cedar's validator, and aimed at edges: optional attributes, overflow, empty
sets, wildcards, ends of time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.crm.rows import LONGS, REGIONS, STAGES, TEXTS, Generated

Maker = Callable[[], str]


class Guesses:
    """Random conditions on one kind of object. `has` are the optional attributes that were tested before."""

    def __init__(self, rnd: random.Random, tenant: Generated) -> None:
        self.rnd = rnd
        self.tenant = tenant
        self.kind = ""
        self.has: list[str] = []

    def policy(self, number: int, kind: str, action: str) -> str:
        self.kind, self.has = kind, []
        effect = self.rnd.choice(["permit", "permit", "forbid"])
        principal = self.rnd.choice(["principal", "principal", 'principal in Role::"rep"', "principal is User"])
        team = f'Team::"{self.rnd.choice(self.tenant.teams).id}"'
        inside = f"resource is {kind} in {team}" if kind in ("Account", "Contact", "Deal", "Note") else ""
        resource = self.rnd.choice([f"resource is {kind}", f"resource is {kind}", inside or f"resource is {kind}"])
        when = self.rnd.choice(["when", "when", "unless"])
        return (
            f'@id("guess.{number}") @title("x")\n{effect} ({principal}, action == Action::"{action}", {resource})\n'
            f"{when} {{ {self.truth(3)} }};\n"
        )

    def _any(self, *makers: Maker) -> str:
        return self.rnd.choice(makers)()

    def _few(self, make: Maker, most: int = 3) -> str:
        return "[" + ", ".join(make() for _ in range(self.rnd.randrange(1, most + 1))) + "]"

    # Truths -------------------------------------------------------------------------------------------------------

    def truth(self, depth: int) -> str:
        if depth <= 0:
            return f"({self._any(self._plain_truth, self._compared, self._of_sets, self._in, self._text)})"
        deeper = depth - 1
        return self._any(
            lambda: f"({self.truth(deeper)} && {self.truth(deeper)})",
            lambda: f"({self.truth(deeper)} || {self.truth(deeper)})",
            lambda: f"!({self.truth(deeper)})",
            lambda: f"(if {self.truth(deeper)} then {self.truth(deeper)} else {self.truth(deeper)})",
            lambda: self._guarded(deeper),
            lambda: self._guarded(deeper),
            lambda: f"({self.truth(0)} == {self.truth(0)})",
            lambda: self.truth(0),
        )

    def _guarded(self, depth: int) -> str:
        """Something optional, behind its `has`."""
        optional = {
            "Contact": ("account", "last_seen"), "Deal": ("discount", "closes_at"),
            "Export": ("team", "approved_by", "rows_left"),
        }.get(self.kind, ())  # fmt: skip
        if not optional:
            return self.truth(depth)
        name = self.rnd.choice(optional)
        before = list(self.has)
        self.has.append(name)
        inner = self.truth(depth)
        self.has[:] = before
        other = self.truth(0)
        return self.rnd.choice(
            [f"(resource has {name} && {inner})", f"(if resource has {name} then {inner} else {other})"]
        )

    def _plain_truth(self) -> str:
        own = {
            "Team": ["resource.archived"], "Account": ["resource.suspended"], "Contact": ["resource.do_not_contact"],
            "Deal": ["resource.account.suspended"],
            "Note": ["resource.confidential", "resource.deal.account.suspended"],
            "Export": ["resource.ready"],
        }[self.kind]  # fmt: skip
        return self.rnd.choice(
            [
                *own,
                *own,
                "context.step_up",
                "true",
                "resource has tenant",
                f"resource is {self.kind}",
                "principal has tenant",
            ]
        )

    def _compared(self) -> str:
        return self._any(
            lambda: f"{self.long(2)} {self._sign()} {self.long(2)}",
            lambda: f"{self.moment(2)} {self._sign()} {self.moment(2)}",
            lambda: f"{self.duration()} {self._sign()} {self.duration()}",
            lambda: f"{self.user()} {self.rnd.choice(['==', '!='])} {self.user()}",
            lambda: f"{self.decimal()}.{self.rnd.choice(_DECIMAL_SIGNS)}({self.decimal()})",
            lambda: f'resource == {self.kind}::"{self._row_id()}"',
            lambda: f"{self.string()} {self.rnd.choice(['==', '!='])} {self.string()}",
            lambda: f"resource.tenant {self.rnd.choice(['==', '!='])} principal.tenant",
        )

    def _sign(self) -> str:
        return self.rnd.choice(["<", "<=", ">", ">=", "==", "!="])

    def _text(self) -> str:
        return f'{self.string()} like "{self.rnd.choice(_PATTERNS)}"'

    def _of_sets(self) -> str:
        strings = {"Contact": "resource.tags"}.get(self.kind, '["vip"]')
        users = {"Deal": "resource.shared_with", "Note": "resource.deal.shared_with"}.get(self.kind, "[principal]")
        more = self.rnd.choice(["containsAll", "containsAny"])
        return self._any(
            lambda: f"{strings}.contains({self.string()})",
            lambda: f'{strings}.{more}(["vip", "{self.rnd.choice(["x", "", "private"])}"])',
            lambda: f'["vip", "private", ""].{more}({strings})',
            lambda: f'{strings} {self.rnd.choice(["==", "!="])} ["vip", "vip"]',
            lambda: f"{strings}.isEmpty()",
            lambda: f"{users}.contains({self.user()})",
            lambda: f"{users}.{more}([principal])",
            lambda: f"[principal].{more}({users})",
            lambda: f"{users} == [principal]",
            lambda: f"{self._few(self.user)}.contains({self.user()})",
            lambda: f"{self._few(self.string)}.contains({self.string()})",
            lambda: f"{self._few(lambda: self.long(0))}.contains({self.long(1)})",
            lambda: f'principal.tenant_roles.{more}(["admin", "auditor"])',
            lambda: f"principal.{self._held()}.contains({self.team()})",
            lambda: f"{self._few(self.team)} == principal.{self._held()}" if self.kind == "nothing" else "true",
        )

    def _held(self) -> str:
        return self.rnd.choice(["rep_at", "lead_at"])

    def _in(self) -> str:
        team = f'Team::"{self.rnd.choice(self.tenant.teams).id}"'
        account = f'Account::"{self.rnd.choice(self.tenant.accounts).id}"'
        rows = {"Note": "resource.deal", "Deal": "resource.account"}.get(self.kind, "resource")
        below = self.kind in ("Note", "Deal", "Contact")
        return self._any(
            lambda: f"{self.rnd.choice(['resource', rows])} in principal.{self._held()}"
            if self.kind != "Export" else 'principal in Role::"lead"',
            lambda: f"{rows} in {self.rnd.choice([team, account])}" if below else "false",
            lambda: f"{rows} in [{account}, {account}]" if below else "true",
            lambda: 'principal in [Role::"rep", Role::"admin"]',
            lambda: 'action in Action::"view"',
            lambda: f"principal in {self.user()}",
            lambda: "resource in principal.guest_at" if self.kind in ("Note", "Deal") else "true",
            lambda: f"resource is {self.kind} in {team}" if self.kind not in ("Export", "Team") else "false",
        )  # fmt: skip

    # Values -------------------------------------------------------------------------------------------------------

    def long(self, depth: int) -> str:
        own = {
            "Account": ["resource.tier"], "Deal": ["resource.amount_minor", "resource.account.tier"],
            "Note": ["resource.words", "resource.deal.amount_minor"],
            "Export": ["resource.rows"] + (["resource.rows_left"] if "rows_left" in self.has else []),
        }.get(self.kind, [])  # fmt: skip
        literal = str(self.rnd.choice(LONGS))
        if depth <= 0 or self.rnd.random() < 0.5:
            return self.rnd.choice([*own, *own, literal, "context.auth.aal", "context.auth.age_s"])
        return self._any(
            lambda: f"({self.long(depth - 1)} {self.rnd.choice('+-*')} {self.long(depth - 1)})",
            lambda: f"(-({self.long(depth - 1)}))",
            lambda: f"{self.duration()}.{self.rnd.choice(_UNITS)}()",
            lambda: f"(if {self.truth(0)} then {self.long(0)} else {self.long(0)})",
        )

    def moment(self, depth: int) -> str:
        own = {
            "Note": ["resource.written_at"], "Export": ["resource.expires_at"],
            "Contact": ["resource.last_seen"] if "last_seen" in self.has else [],
            "Deal": ["resource.closes_at"] if "closes_at" in self.has else [],
        }.get(self.kind, [])  # fmt: skip
        literal = f'datetime("{self.rnd.choice(_MOMENTS)}")'
        if depth <= 0 or self.rnd.random() < 0.5:
            return self.rnd.choice([*own, *own, *own, "context.now", literal])
        return self._any(
            lambda: f"{self.moment(depth - 1)}.offset({self.duration()})",
            lambda: f"{self.moment(depth - 1)}.toDate()",
            lambda: f"(if {self.truth(0)} then {self.moment(0)} else {self.moment(0)})",
        )

    def duration(self) -> str:
        return self._any(
            lambda: f'duration("{self.rnd.choice(_DURATIONS)}")',
            lambda: f"{self.moment(1)}.durationSince({self.moment(1)})",
            lambda: f"{self.moment(1)}.toTime()",
        )

    def decimal(self) -> str:
        own = ["resource.discount"] if self.kind == "Deal" and "discount" in self.has else []
        return self.rnd.choice([*own, *own, 'decimal("12.5")', 'decimal("-3.2500")', 'decimal("0.0")'])

    def user(self) -> str:
        own = {
            "Account": ["resource.owner"], "Contact": ["resource.owner"],
            "Deal": ["resource.owner", "resource.account.owner"],
            "Note": ["resource.author", "resource.deal.owner"], "Export": ["resource.requested_by"],
        }.get(self.kind, [])  # fmt: skip
        if "account" in self.has:
            own.append("resource.account.owner")
        if "approved_by" in self.has:
            own.append("resource.approved_by")
        return self.rnd.choice([*own, *own, "principal", f'User::"{self.rnd.choice(self.tenant.users)}"'])

    def team(self) -> str:
        own = {
            "Team": ["resource"], "Account": ["resource.team"], "Deal": ["resource.account.team"],
            "Note": ["resource.deal.account.team"], "Export": ["resource.team"] if "team" in self.has else [],
            "Contact": ["resource.account.team"] if "account" in self.has else [],
        }[self.kind]  # fmt: skip
        return self.rnd.choice([*own, *own, f'Team::"{self.rnd.choice(self.tenant.teams).id}"'])

    def string(self) -> str:
        own = {
            "Team": ["resource.region"], "Account": ["resource.name"], "Contact": ["resource.region"],
            "Deal": ["resource.stage", "resource.account.team.region"],
            "Note": ["resource.text", "resource.deal.stage"],
        }.get(self.kind, [])  # fmt: skip
        text = self.rnd.choice([*TEXTS, *REGIONS, *STAGES]).replace("\\", "\\\\")
        return self.rnd.choice([*own, *own, f'"{text}"'])

    def _row_id(self) -> str:
        rows = {
            "Team": self.tenant.teams, "Account": self.tenant.accounts, "Contact": self.tenant.contacts,
            "Deal": self.tenant.deals, "Note": self.tenant.notes, "Export": self.tenant.exports,
        }[self.kind]  # fmt: skip
        found = str(self.rnd.choice(rows).id)
        return self.rnd.choice([found, found, found.upper(), "nobody"])


_PATTERNS = ("*", "fyi:*", "*off*", "", r"50% off_", r"50*_", r"a\\b*", r"*\*c", r"*\\*", "*☂", "E*", "_*", "%")
_UNITS = ("toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays")
_DECIMAL_SIGNS = ("lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual")
_DURATIONS = ("0ms", "1ms", "24h", "-7d", "30d12h5m3s9ms", "106751991167d", "-106751991167d")
_MOMENTS = (
    "2026-11-24",
    "1969-12-31T23:59:59.999Z",
    "0001-01-01",
    "9999-12-31T23:59:59.999Z",
    "2026-11-24T10:00:00+0130",
)
