"""What nobody decided on does not start, and does not leave.

Why
    The hole that attackers find is the check that is not there. Nobody sees a missing line in a review, least of all in
    code that a tool wrote. So a route without a decision must stop the app from starting, and where one slips past the
    start, its answer must not leave.

How it is attacked
    The app is started with a route planted that declares nothing: on the app, in a router that a router includes, and
    as a mounted app. Each must refuse to start and name the route. Then it is started with a
    route that is added while it runs, and with one whose declared decision is replaced by nothing at run time: both
    answers must be a 500 that holds nothing of what the route said.

How to fix
    Declare on every route exactly one of `may(…)`, `may_list(…)`, `public("why")` or `self_service("why")`.
"""

import asyncio
import secrets

from seawall_check.control import Control
from seawall_check.controls.access._calls import plant
from seawall_check.errors import DidNotStart
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/deny-by-default",
    title="What nobody decided on does not start, and does not leave",
    refs=("ASVS 8.1.1", "ASVS 8.3.1"),
    timeout_s=300,
)

PATH = "/seawall-check-undeclared"

UNDECLARED = {
    "a route that declares nothing": """
@{app}.get("PATH")
async def planted() -> str:
    return "nobody decided"
""",
    "a route that declares nothing, in a router within a router": """
from fastapi import APIRouter
inner, outer = APIRouter(), APIRouter()

@inner.post("PATH")
async def planted() -> str:
    return "nobody decided"

outer.include_router(inner)
{app}.include_router(outer, prefix="/api")
""",
    "a mounted app": """
from fastapi import FastAPI
{app}.mount("PATH", FastAPI())
""",
}

AT_RUN_TIME = """
from seawall import public

@{app}.get("PATH/declared", dependencies=[public("planted by the judge")])
async def declared() -> dict[str, str]:
    return {"said": "CANARY"}

@{app}.get("PATH/arm", dependencies=[public("planted by the judge")])
async def arm() -> None:
    async def late() -> dict[str, str]:
        return {"said": "CANARY"}

    {app}.add_api_route("PATH/late", late)

replaced = public("planted by the judge")

@{app}.get("PATH/replaced", dependencies=[replaced])
async def without() -> dict[str, str]:
    return {"said": "CANARY"}

async def nothing() -> None: ...

{app}.dependency_overrides[replaced.dependency] = nothing
"""


async def check(target: Target, trial: Trial) -> None:
    trial.allow("start the app as it is", f"it answers at {target.base_url}", ok=True, expected="it starts")
    await asyncio.gather(
        at_run_time(target, trial),
        *(undeclared(target, trial, what, code) for what, code in UNDECLARED.items()),
    )


async def undeclared(target: Target, trial: Trial, what: str, code: str) -> None:
    refusal = await target.refusal(**plant(target, code.replace("PATH", PATH)))
    named = refusal is not None and PATH in refusal
    observed = "it started" if refusal is None else "it refused" + ("" if named else ", without naming the route")
    trial.refuse(
        f"start with {what}",
        observed,
        ok=named,
        expected="it refuses to start and names the route",
        artifact=refusal or observed,
    )


async def at_run_time(target: Target, trial: Trial) -> None:
    canary = secrets.token_hex(12)
    code = AT_RUN_TIME.replace("PATH", PATH).replace("CANARY", canary)
    try:
        async with target.variant(**plant(target, code)) as other:
            client = other.anonymous()
            declared = await client.get(f"{PATH}/declared")
            trial.allow(
                "a planted route that says why it is public", declared, ok=canary in declared.text, of="run time"
            )
            await client.get(f"{PATH}/arm")
            for name, what in (
                ("late", "a route added while the app runs"),
                ("replaced", "a decision replaced by nothing"),
            ):
                answer = await client.get(f"{PATH}/{name}")
                trial.refuse(
                    f"{what}: its answer leaves",
                    answer,
                    ok=answer.status_code == 500 and canary not in answer.text,
                    expected="500, holding nothing of what it said",
                    of="run time",
                )
    except DidNotStart as refusal:
        trial.unproven(f"the app with declared routes planted did not start: {refusal.text[-300:]}")
