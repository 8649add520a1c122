"""What nobody decided on does not start, and does not leave.

Why
    The hole that attackers find is the check that is not there. Nobody sees a missing line in a review, least of all in
    code that a tool wrote. So a route without a decision must stop the app from starting, and where one slips past the
    start, its answer must not leave.

How it is attacked
    The app is started with a route planted that declares nothing: on the app, in a router that a router includes, and
    as a mounted app. Each must refuse to start and name the route. Then it is started with a route that is added while
    it runs, and with some whose declared decision is replaced by nothing at run time: every answer, a redirect and a
    stream too, must be a 500 that holds nothing of what the route said, and a handler that nobody decided on must not
    get to the database.

How to fix
    Declare on every route exactly one of `may(…)`, `may_list(…)`, `public("why")` or `self_service("why")`.
"""

import asyncio
import secrets

from seawall_check.control import Control
from seawall_check.controls.access._planting import must_refuse, plant
from seawall_check.errors import DidNotStart, Unproven
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
from fastapi.responses import RedirectResponse, StreamingResponse
from seawall import Scope, public

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

@{app}.get("PATH/redirect", dependencies=[replaced])
async def redirect() -> RedirectResponse:
    return RedirectResponse("/CANARY", 303)

@{app}.get("PATH/stream", dependencies=[replaced])
async def stream() -> StreamingResponse:
    return StreamingResponse(iter(["CANARY"]))

async def opened(scope: Scope, who: str) -> None:
    transaction = await scope.transaction()
    await transaction.fetch("SELECT 1")
    print(f"CANARY opened {who}", flush=True)

@{app}.get("PATH/opened", dependencies=[public("planted by the judge")])
async def opened_decided(scope: Scope) -> None:
    await opened(scope, "decided")

@{app}.get("PATH/opened-undecided", dependencies=[replaced])
async def opened_undecided(scope: Scope) -> None:
    await opened(scope, "undecided")

async def nothing() -> None: ...

{app}.dependency_overrides[replaced.dependency] = nothing
"""


WITHHELD = {
    "late": "a route added while the app runs",
    "replaced": "a decision replaced by nothing",
    "redirect": "a redirect that nobody decided on",
    "stream": "a stream that nobody decided on",
}


async def check(target: Target, trial: Trial) -> None:
    undeclared = (target.refusal(**plant(target, code.replace("PATH", PATH))) for code in UNDECLARED.values())
    planted, refusals = await asyncio.gather(at_run_time(target, trial), asyncio.gather(*undeclared))
    if not planted:  # an app that does not take in what is planted starts with it, and proves nothing by that
        raise Unproven("what is planted does not become part of the app, so an undeclared route cannot be tried")
    trial.allow("start with a route that says why it is public", "it answers", ok=True, expected="it starts")
    for what, refusal in zip(UNDECLARED, refusals, strict=True):
        must_refuse(trial, what, refusal, [PATH])


async def at_run_time(target: Target, trial: Trial) -> bool:
    """Answers of routes that nobody decided on. Gives whether what was planted is there at all."""
    canary = secrets.token_hex(12)
    code = AT_RUN_TIME.replace("PATH", PATH).replace("CANARY", canary)
    try:
        async with target.variant(**plant(target, code)) as other:
            client = other.anonymous()
            declared = await client.get(f"{PATH}/declared")
            there = canary in declared.text
            if not trial.allow("a planted route that says why it is public", declared, ok=there, of="run time"):
                return False
            await client.get(f"{PATH}/arm")
            for name, what in WITHHELD.items():
                answer = await client.get(f"{PATH}/{name}")
                trial.refuse(
                    f"{what}: its answer leaves",
                    answer,
                    ok=answer.status_code == 500 and canary not in f"{answer.headers} {answer.text}",
                    expected="500, holding nothing of what it said",
                    of="run time",
                )
            await _database(other, trial, canary)
    except DidNotStart as refusal:
        trial.unproven(f"the app with declared routes planted did not start: {refusal.text[-300:]}")
        return False
    return True


async def _database(other: Target, trial: Trial, canary: str) -> None:
    """Whether a handler gets to the database without a decision: whatever became of its answer, it says so itself."""
    if not other.personas:
        trial.unproven("there is no persona whose handler could ask for a database session")
        return
    client = await other.client(other.personas[-1])
    for name in ("opened", "opened-undecided"):
        await client.get(f"{PATH}/{name}")
    log = other.log()
    decided, undecided = (f"{canary} opened {how}" in log for how in ("decided", "undecided"))
    told = {True: "it got one", False: "it got none"}
    trial.allow("a decided handler asks for a database session", told[decided], ok=decided, of="session")
    trial.refuse(
        "a handler that nobody decided on asks for one",
        told[undecided],
        ok=not undecided,
        expected=told[False],
        of="session",
    )
