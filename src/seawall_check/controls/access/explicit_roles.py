"""Roles and permissions are typed policies, and a policy that errs means no.

Why
    A role that is a string compared somewhere in the code is a role that is misspelt somewhere. And an engine that
    skips a rule it cannot evaluate lets through whom the rule was to stop: Cedar skips a forbid that errs, and allows.

How it is attacked
    Policies are planted that do not hold water: an attribute that the schema does not know, the same id twice, an
    obligation that nobody carries out. Each must keep the app from starting, by name. Then a
    forbid is planted that validates and overflows at run time: a read that the app allows without it must be refused
    with it, while signing in still works.

How to fix
    Keep roles and permissions in `policies/*.cedar` against `policies/schema.cedarschema`, load them with
    `seawall.access.read_policies`, and treat every `diagnostics.errors` as a denial.
"""

import asyncio
import re

from seawall_check.control import Control
from seawall_check.controls.access._calls import Call, first_decided, stated
from seawall_check.controls.access._planting import must_refuse
from seawall_check.errors import DidNotStart, Unproven
from seawall_check.probes.http import Operation
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/explicit-roles",
    title="Roles and permissions are typed policies, and a policy that errs means no",
    refs=("ASVS 8.1.1", "ASVS 8.1.2"),
    timeout_s=300,
)

FILE = "policies/seawall_check.cedar"
SCHEMA = "policies/schema.cedarschema"
_ACTION = re.compile(r'^\s*action\s+"?([A-Za-z_][\w.-]*)"?', re.MULTILINE)

UNSOUND = {
    "an attribute that no object has": """
@id("seawall-check.planted") @title("Planted by the judge")
permit (principal, action, resource) when { resource.seawall_check_misspelt == 1 };
""",
    "the id of another": """
@id("seawall-check.planted") @title("Planted by the judge")
permit (principal, action == Action::"ACTION", resource);
@id("seawall-check.planted") @title("Planted by the judge, again")
permit (principal, action == Action::"ACTION", resource);
""",
    "an obligation that nobody carries out": """
@id("seawall-check.planted") @title("Planted by the judge") @seawall_check_unknown("x")
permit (principal, action == Action::"ACTION", resource);
""",
}

# Validates, because it is well typed; overflows for everybody, because every assurance level is at least 1.
ERRING = """
@id("seawall-check.erring") @title("Planted by the judge")
forbid (principal, action, resource) when { context has auth && context.auth.aal + 9223372036854775807 < 0 };
"""


async def check(target: Target, trial: Trial) -> None:
    schema = target.source / SCHEMA
    found = _ACTION.search(schema.read_text("utf-8")) if schema.is_file() else None
    if found is None:
        raise Unproven(f"{SCHEMA} declares no action")
    trial.allow("start with the app's own policies", f"it answers at {target.base_url}", ok=True, expected="it starts")
    await asyncio.gather(
        erring(target, trial),
        *(unsound(target, trial, what, text.replace("ACTION", found[1])) for what, text in UNSOUND.items()),
    )


async def unsound(target: Target, trial: Trial, what: str, text: str) -> None:
    refusal = await target.refusal(plant={FILE: text})
    must_refuse(trial, f"a policy that has {what}", refusal, ("seawall-check.planted", "seawall_check.cedar"))


async def erring(target: Target, trial: Trial) -> None:
    read = await _a_read(target)
    if read is None:
        raise Unproven("no reading route is stated in [check.routes] that answers anybody")
    of = "an error means no"
    client = await target.client(read.persona)
    trial.allow(f"{read.name}, without the planted policy", await read.operation.send(client, read.values), of=of)
    try:
        async with target.variant(plant={FILE: ERRING}) as other:
            persona = other.persona(read.persona.name)
            client = await other.client(persona)
            me = await client.get(other.sign_in.me)
            trial.allow(f"{persona.name} signs in where the planted forbid fails", me, of=of)
            call = await first_decided(other, read.operation, persona)
            if call is not None:
                trial.refuse(f"{read.name}, where the planted forbid fails", call[1], of=of)
    except DidNotStart as refusal:
        trial.unproven(f"the app with a well-typed policy planted did not start: {refusal.text[-300:]}")


async def _a_read(target: Target) -> Call | None:
    """A call that reads one object and is allowed."""
    for operation, said in stated(target):
        if operation.method == "GET" and operation.path_names:
            call = await _answered(target, operation, said.get("allow", ()))
            if call is not None:
                return call
    return None


async def _answered(target: Target, operation: Operation, roles: list[str]) -> Call | None:
    for persona in target.personas:
        if persona.role in roles:
            found = await first_decided(target, operation, persona)
            if found is not None and found[1].status_code < 400:
                return found[0]
    return None
