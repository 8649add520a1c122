"""The two interop scenarios of OpenID AuthZEN, "todo" (decisions) and "records" (search), as policies and facts.

Subjects and objects are known by their ids alone; what the vectors send along (`ownerID`) decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from sqlalchemy.orm import Mapped

from seawall.access import Engine, read_policies
from seawall.access.may import Requirement
from seawall.core.clock import now
from seawall.core.scope import Assurance, Membership, Principal
from seawall.store.models import Tenanted, object_id

TENANT = UUID(int=0x1)

SCHEMA = """
entity Tenant;
entity Role;
entity Department = { tenant: Tenant };
entity User in [Role] = {
  tenant: Tenant, manager_at: Set<Department>, employee_at: Set<Department>, contractor_at: Set<Department>
};
entity Account = { tenant: Tenant };
entity Todo = { tenant: Tenant, owner?: User };
entity Record = { tenant: Tenant, owner: User, department: Department };
action "can_read_user" appliesTo { principal: [User], resource: [Account] };
action "can_read_todos", "can_create_todo", "can_update_todo", "can_delete_todo"
  appliesTo { principal: [User], resource: [Todo] };
action "view", "edit", "delete" appliesTo { principal: [User], resource: [Record] };
"""

POLICIES = """
@id("user.read") @title("Everybody reads who else is there")
permit (principal, action == Action::"can_read_user", resource);

@id("todo.read") @title("Everybody reads the list")
permit (principal, action == Action::"can_read_todos", resource);

@id("todo.create") @title("Admins and editors write new ones")
permit (principal, action == Action::"can_create_todo", resource)
when { principal in [Role::"admin", Role::"editor"] };

@id("todo.change-own") @title("Editors change and delete their own")
permit (principal in Role::"editor", action in [Action::"can_update_todo", Action::"can_delete_todo"], resource)
when { resource has owner && resource.owner == principal };

@id("todo.change-any") @title("The evil genius changes everybody's")
permit (principal in Role::"evil_genius", action == Action::"can_update_todo", resource);

@id("todo.delete-any") @title("Admins delete everybody's")
permit (principal in Role::"admin", action == Action::"can_delete_todo", resource);

@id("record.own") @title("Owners do everything with their records")
permit (principal, action in [Action::"view", Action::"edit", Action::"delete"], resource)
when { resource.owner == principal };

@id("record.managers-view") @title("Managers view every record")
permit (principal in Role::"manager", action == Action::"view", resource);

@id("record.department-views") @title("A department views its records")
permit (principal, action == Action::"view", resource)
when { principal.employee_at.contains(resource.department) || principal.contractor_at.contains(resource.department) };

@id("record.department-edits") @title("A department's manager edits its records")
permit (principal in Role::"manager", action == Action::"edit", resource)
when { principal.manager_at.contains(resource.department) };
"""


class Account(Tenanted):
    __tablename__ = "authzen_accounts"
    id: Mapped[UUID] = object_id()


class Todo(Tenanted):
    __tablename__ = "authzen_todos"
    id: Mapped[UUID] = object_id()
    owner_id: Mapped[UUID | None]


class Record(Tenanted):
    __tablename__ = "authzen_records"
    id: Mapped[UUID] = object_id()
    owner_id: Mapped[UUID]
    department_id: Mapped[UUID]


CITADEL = {
    "rick@the-citadel.com": ("CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", ("admin", "evil_genius")),
    "morty@the-citadel.com": ("CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", ("editor",)),
    "summer@the-smiths.com": ("CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", ("editor",)),
    "beth@the-smiths.com": ("CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", ("viewer",)),
    "jerry@the-smiths.com": ("CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", ("viewer",)),
}
"""Login → the identity provider's id, and roles. The drafts name people by either."""
TODOS = {
    "todo-1": None,
    "7240d0db-8ff0-41ec-98b2-34a096273b92": "rick@the-citadel.com",
    "7240d0db-8ff0-41ec-98b2-34a096273b91": "morty@the-citadel.com",
    "7240d0db-8ff0-41ec-98b2-34a096273b93": "summer@the-smiths.com",
    "7240d0db-8ff0-41ec-98b2-34a096273b94": "beth@the-smiths.com",
    "7240d0db-8ff0-41ec-98b2-34a096273b95": "jerry@the-smiths.com",
}
STAFF = {
    "alice": ("manager", "Sales"),
    "bob": ("employee", "Legal"),
    "carol": ("contractor", "Legal"),
    "dan": ("manager", "Finance"),
    "erin": ("employee", "Finance"),
    "felix": ("contractor", "Accounting"),
}
OWNERS = ("alice", "bob", "carol", "dan", "erin", "felix")
DEPARTMENTS = {
    "Legal": (101, 102, 103, 105, 108, 112, 116, 117, 119),
    "Accounting": (104, 106, 109, 111, 114, 118, 120),
    "Sales": (107, 110, 113),
    "Finance": (115,),
}
"""Of the records; their owners take turns."""


def an_id(name: str) -> UUID:
    """The vectors name people and things by text, which Cedar takes as it is."""
    return cast(UUID, name)


def somebody(name: str, *memberships: Membership) -> Principal:
    return Principal(an_id(name), TENANT, UUID(int=2), memberships, Assurance(1, now()), "")


class Scenario:
    """A directory that knows both scenarios by heart."""

    def __init__(self) -> None:
        self._people: dict[str, Principal] = {}
        for login, (subject, roles) in CITADEL.items():
            self._people[login] = self._people[subject] = somebody(login, *map(Membership, roles))
        self._staff = {
            name: somebody(name, Membership(role, "Department", an_id(department)))
            for name, (role, department) in STAFF.items()
        }
        self._things: dict[str, dict[str, Any]] = {
            "user": {name: Account(tenant_id=TENANT, id=an_id(name)) for name in self._people},
            "todo": {
                name: Todo(tenant_id=TENANT, id=an_id(name), owner_id=owner and an_id(owner))
                for name, owner in TODOS.items()
            },
            "record": {
                str(number): Record(
                    tenant_id=TENANT,
                    id=an_id(str(number)),
                    owner_id=an_id(OWNERS[(number - 101) % 6]),
                    department_id=an_id(department),
                )
                for number, department in sorted((n, name) for name, numbers in DEPARTMENTS.items() for n in numbers)
            },
        }

    async def subject(self, type_name: str, identity: str) -> Principal | None:
        return {**self._people, **self._staff}.get(identity) if type_name == "user" else None

    async def subjects(self, type_name: str) -> Sequence[Principal]:
        return list(self._staff.values()) if type_name == "user" else ()

    async def resource(self, type_name: str, identity: str) -> Any | None:
        return self._things.get(type_name, {}).get(identity)

    async def resources(self, type_name: str, after: str) -> AsyncIterator[tuple[str, Any]]:
        for name, thing in self._things.get(type_name, {}).items():
            if name > after:
                yield name, thing

    def model(self, type_name: str) -> type[Any] | None:
        models: dict[str, type[Any]] = {"user": Account, "todo": Todo, "record": Record}
        return models.get(type_name)

    def requirement(self, model: type[Any], action: str) -> Requirement | None:
        return None

    async def facts(self, requirement: Requirement, instance: Any, body: Any, principal: Principal) -> dict[str, Any]:
        return {}


def engine_of(folder: Path) -> Engine:
    folder.mkdir(exist_ok=True)
    (folder / "schema.cedarschema").write_text(SCHEMA)
    (folder / "interop.cedar").write_text(POLICIES)
    return Engine(read_policies(folder))
