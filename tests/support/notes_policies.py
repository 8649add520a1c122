"""A small set of policies about notes, with its tests: what the tests of policies as code start from."""

from __future__ import annotations

from pathlib import Path

SCHEMA = """
entity Tenant;
entity Role;
entity User in [Role] = { tenant: Tenant };
entity Note = { tenant: Tenant, author: User, shared: Bool, size: Long };
action "read" appliesTo { principal: [User], resource: [Note], context: { step_up: Bool } };
action "delete" appliesTo { principal: [User], resource: [Note], context: { step_up: Bool } };
"""
WALL = """
@id("wall.tenant") @title("Nobody reads another tenant's notes") @owner("platform") @wall
forbid (principal, action, resource) when { resource.tenant != principal.tenant };
"""
POLICIES = (
    WALL
    + """
@id("note.own") @title("Authors read and delete their own small notes") @owner("notes")
permit (principal, action in [Action::"read", Action::"delete"], resource)
when { resource.author == principal && resource.size <= 100 };

@id("note.shared") @title("Editors read what is shared") @owner("notes")
permit (principal in Role::"editor", action == Action::"read", resource) when { resource.shared };

@id("note.purge") @title("Admins delete with a second factor") @owner("notes") @step_up("aal=2,max_age_s=60")
permit (principal in Role::"admin", action == Action::"delete", resource) when { context.step_up };
"""
)
TESTS = """
walls: [wall.tenant]
principals:
  ann: {}
  ed: {roles: [editor]}
  adam: {roles: [admin]}
  eve: {tenant: away, roles: [editor, admin]}
objects:
  hers: {is: Note, author: ann, shared: false, size: 100}
  shown: {is: Note, author: zed, shared: true, size: 500}
  eves: {is: Note, author: eve, shared: true, size: 1}
tests:
  - {why: authors read their own, action: [read], on: hers, only: [ann]}
  - {why: authors delete their own, who: ann, action: delete, on: hers, expect: allow}
  - {why: nobody else does, who: [ed, eve], action: delete, on: [hers, shown], expect: deny}
  - {why: small ones only, who: ann, action: [read, delete], on: hers, given: {size: 101}, expect: "404"}
  - {why: editors read what is shared, action: read, on: shown, only: [ed]}
  - {why: and nothing else, who: ed, action: delete, on: shown, expect: "403"}
  - {why: admins purge, action: delete, on: shown, only: [adam], expect: step-up}
  - {why: from outside there is nothing, who: eve, action: [read, delete], on: [hers, shown, eves], expect: "404"}
"""


def tree(folder: Path, policies: str = POLICIES, tests: str | None = TESTS, schema: str = SCHEMA) -> Path:
    """A policies folder."""
    (folder / "tests").mkdir(parents=True, exist_ok=True)
    (folder / "schema.cedarschema").write_text(schema)
    (folder / "notes.cedar").write_text(policies)
    if tests is not None:
        (folder / "tests" / "notes.yaml").write_text(tests)
    return folder
