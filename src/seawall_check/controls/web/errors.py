"""Callers get problem details with a trace id, and nothing about the inside

Why
    A stack trace names the libraries and their versions, a database error names tables and quotes rows, an echoed
    input becomes cross-site scripting somewhere else. A caller needs a code to act on and a number to quote;
    everything else belongs into the log, where the number finds it.
How it is attacked
    Unknown addresses, wrong methods and content types, malformed, deeply nested, huge and wrongly typed JSON, NUL and
    bytes that are not UTF-8 in path, query and body, numbers beyond every column. Then crash routes are planted into
    a copy of the app: an exception with a secret in its text, a failing SQL statement, an `HTTPException(400,
    str(error))`, a hand-made 500. Every answer must be `application/problem+json` with status, code and trace id;
    none may hold a stack, a path, SQL, a library's name or the secret; and the log must hold the stack under the same
    trace id.
How to fix
    Raise `seawall.core.errors.Problem` subclasses to speak to callers; let everything else escape to the wall.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._calls import Call, calls, leaks
from seawall_check.errors import DidNotStart
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="web/errors",
    title="Callers get problem details with a trace id, and nothing about the inside",
    refs=("ASVS 16.5.1", "ASVS 13.4.2", "ASVS 13.4.6", "RFC 9457"),
)

PROBLEM_TYPE = "application/problem+json"
MEMBERS = ("title", "status", "code", "trace_id")
PLANTED = "seawall_check_planted"
OPERATIONS_MAX = 30
ECHO = "echo7f3a"

PLANTED_ROUTES = """
from fastapi import HTTPException
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from seawall import public
from sqlalchemy.exc import ProgrammingError

from {module} import {attribute} as app

WHY = [public("planted by the judge to see how a crash is answered")]


class Narrow(BaseModel):
    number: int


@app.get("/planted/crash", dependencies=WHY)
async def crash():
    local = "{secret}"
    raise RuntimeError("cannot reach db.internal as root: {secret}" + local)


@app.get("/planted/sql", dependencies=WHY)
async def sql():
    statement = "SELECT * FROM seawall.sessions WHERE token = '{secret}'"
    raise ProgrammingError(statement, {{"token": "{secret}"}}, Exception('relation "x" does not exist {secret}'))


@app.get("/planted/told", dependencies=WHY)
async def told():
    try:
        raise KeyError("{secret}")
    except KeyError as error:
        raise HTTPException(400, f"KeyError: {{error}} in app.py")


@app.get("/planted/handmade", dependencies=WHY)
async def handmade():
    return JSONResponse({{"error": "Traceback (most recent call last): {secret}"}}, 500)


@app.get("/planted/page", dependencies=WHY)
async def page():
    return HTMLResponse("<pre>Traceback (most recent call last): {secret}</pre>", 503)


@app.get("/planted/shape", dependencies=WHY, response_model=Narrow)
async def shape():
    return {{"number": "{secret}"}}
"""
CRASHES = {"crash": 500, "sql": 500, "told": 400, "handmade": 500, "page": 503, "shape": 500}


@dataclass(frozen=True)
class Wrong:
    """A request that must be refused: what is wrong with it, and the statuses that say so."""

    what: str
    method: str
    url: str
    statuses: frozenset[int]
    options: dict[str, Any] = field(default_factory=dict)


def _say(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


async def check(target: Target, trial: Trial) -> None:
    client = await target.client(target.personas[0])
    ready = await client.get(target.document.openapi_path)
    trial.allow("a well-formed request is answered", ready)
    for wrong in _anywhere(target):
        await _try(trial, client, wrong)
    for call in list(calls(target))[:OPERATIONS_MAX]:
        for wrong in _of_operation(call):
            await _try(trial, await target.client(call.persona), wrong)
    await _planted(target, trial)


def _anywhere(target: Target) -> Iterator[Wrong]:
    document = target.document.openapi_path
    json_type = {"Content-Type": "application/json"}
    yield Wrong("an unknown address", "GET", f"/no/such/{ECHO}", _say(404))
    yield Wrong("an unknown address below the API", "GET", f"/api/{ECHO}/x.php", _say(404))
    yield Wrong("a method that is not there", "DELETE", document, _say(405))
    yield Wrong("a method of another protocol", "PROPFIND", document, _say(400, 405, 501))
    yield Wrong("TRACE", "TRACE", document, _say(400, 405, 501))
    yield Wrong("NUL in the path", "GET", f"/{ECHO}%00", _say(400, 404))
    yield Wrong("a path that is not UTF-8", "GET", f"/{ECHO}%ff%fe", _say(400, 404))
    yield Wrong("a path that climbs", "GET", "/seawall/static/..%2f..%2fetc/passwd", _say(400, 404))
    yield Wrong("a path of 9,000 characters", "GET", "/" + "a" * 9_000, _say(400, 404, 413, 414))
    yield Wrong("40 kB of headers", "GET", document, _say(400, 413, 431), {"headers": {"X-Long": "a" * 40_000}})
    yield Wrong(
        "a body over every limit", "POST", "/no", _say(404, 413), {"content": b"[" * 4_000_000, "headers": json_type}
    )


def _of_operation(call: Call) -> Iterator[Wrong]:
    operation = call.operation
    url = operation.url(call.values)
    for name in operation.path_names:
        yield Wrong(
            f"{operation.name} with a {name} that is none",
            operation.method,
            operation.url({**call.values, name: f"{ECHO}'\"<>"}),
            _say(400, 403, 404, 409, 415, 422),
            {"json": call.body} if call.body is not None and "form" not in operation.content_type else {},
        )
    for parameter in operation.query:
        if parameter.get("schema", {}).get("type") != "string":
            bad = {str(parameter["name"]): f"{ECHO}"}
            yield Wrong(
                f"{operation.name} with a wrong {parameter['name']}",
                operation.method,
                url,
                ANY_REFUSAL,
                {"params": bad},
            )
    if call.body is None or "form" in operation.content_type:
        return
    as_json = {"Content-Type": "application/json"}
    for what, content, statuses in _bodies():
        yield Wrong(
            f"{operation.name} with {what}", operation.method, url, statuses, {"content": content, "headers": as_json}
        )
    text = {"Content-Type": "text/plain"}
    yield Wrong(
        f"{operation.name} as text/plain", operation.method, url, _say(415), {"content": b"{}", "headers": text}
    )
    yield Wrong(f"{operation.name} with an unknown field", operation.method, url, ANY_REFUSAL, {"json": {ECHO: ECHO}})
    for name in call.body if isinstance(call.body, dict) else ():
        for value in ({ECHO: ECHO}, 10**40):
            body = {**call.body, name: value}
            yield Wrong(
                f"{operation.name} with {name} of a wrong type", operation.method, url, ANY_REFUSAL, {"json": body}
            )


ANY_REFUSAL = _say(400, 401, 403, 404, 409, 422)
"""An unknown or foreign object may be refused before the body is looked at."""


def _bodies() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    refused = _say(400, 401, 403, 404, 409, 413, 422)
    yield "no JSON", b'{"' + ECHO.encode(), refused
    yield "null", b"null", refused
    yield "a list", b"[]", refused
    yield "50,000 nested lists", b"[" * 50_000 + b"]" * 50_000, refused
    yield "NUL in a string", b'{"a":"\\u0000"}', refused
    yield "a raw NUL", b'{"a":"\x00"}', refused
    yield "bytes that are not UTF-8", b'{"a":"\xff\xfe"}', refused
    yield "half a surrogate pair", b'{"a":"\\ud800"}', refused
    yield "NaN", b'{"amount_minor":NaN}', refused
    yield "a number of 5,000 digits", b'{"a":' + b"9" * 5_000 + b"}", refused


async def _try(trial: Trial, client: httpx2.AsyncClient, wrong: Wrong) -> None:
    try:
        response = await client.request(wrong.method, wrong.url, **wrong.options)
    except httpx2.TransportError as error:
        # The server cut the connection; it told nothing, but it must live on.
        alive = await client.get("/")
        trial.refuse(wrong.what, f"{type(error).__name__}, then {alive.status_code}", ok=alive.status_code < 500)
        return
    faults = problem_faults(response)
    if ECHO in response.text:
        faults.append("it echoes the input")
    trial.refuse(
        f"{wrong.what} ({wrong.method})",
        response if not faults else f"{response.status_code}: {'; '.join(faults)}",
        ok=response.status_code in wrong.statuses and not faults,
        expected=f"{', '.join(map(str, sorted(wrong.statuses)))} as problem details",
        artifact=response,
    )


def problem_faults(response: httpx2.Response) -> list[str]:
    """What keeps an answer from being problem details with a trace id and nothing else."""
    faults = leaks(response.text)
    kind = response.headers.get("content-type", "")
    if not kind.startswith(PROBLEM_TYPE):
        return [f"content type {kind or 'missing'}", *faults]
    try:
        body = response.json()
    except ValueError:
        return ["it is not JSON", *faults]
    faults += [f"no {name}" for name in MEMBERS if not body.get(name)]
    if body.get("status") != response.status_code:
        faults.append(f"status {body.get('status')} in the body")
    return faults


async def _planted(target: Target, trial: Trial) -> None:
    """Plant routes that crash, and see what is told to the caller and what to the log."""
    secret = f"planted{secrets.token_hex(8)}"
    # A sabotaged target already starts through a wrapper; wrap that.
    whole = target.change.env.get("SEAWALL_APP__MODULE", target.config.app_module)
    module, _, attribute = whole.partition(":")
    source = PLANTED_ROUTES.format(module=module, attribute=attribute, secret=secret)
    try:
        async with target.variant(
            plant={f"{PLANTED}.py": source}, env={"SEAWALL_APP__MODULE": f"{PLANTED}:app"}
        ) as variant:
            client = variant.anonymous()
            trial.allow(
                "the app with planted routes runs", await client.get(variant.document.openapi_path), of="planted"
            )
            for name, status in CRASHES.items():
                await _crash(trial, variant, client, name, status, secret)
    except DidNotStart as refusal:
        trial.unproven(f"the app with planted crash routes does not start: {refusal.text[-300:]}")


async def _crash(  # noqa: PLR0917
    trial: Trial, variant: Target, client: httpx2.AsyncClient, name: str, status: int, secret: str
) -> None:
    for accept in ("application/json", "text/html"):
        response = await client.get(f"/planted/{name}", headers={"Accept": accept})
        text = response.text + str(response.headers)
        faults = leaks(response.text) if accept == "text/html" else problem_faults(response)
        if secret in text:
            faults.append("it holds the exception's text")
        good = response.status_code in {status, 500} if status >= 500 else response.status_code == status
        trial.refuse(
            f"a planted crash ({name}), asked for as {accept}",
            response if not faults else f"{response.status_code}: {'; '.join(faults)}",
            ok=good and not faults,
            expected=f"{status} and nothing about the inside",
            artifact=response,
            of="planted",
        )
        if name in {"crash", "sql"}:
            trace = _trace_id(response)
            logged = trace_in_log(variant.log(), trace)
            trial.expect(
                f"the log has the stack of that crash ({name}, {accept})",
                expected="the trace id and the place",
                observed="both" if logged else f"not there for trace id {trace or '(none)'}",
                ok=logged,
            )


def _trace_id(response: httpx2.Response) -> str:
    found = re.search(r"\b[0-9a-f]{32}\b", response.text)
    return found[0] if found else ""


def trace_in_log(log: str, trace: str) -> bool:
    """Whether the log has the trace id and, not far from it, the planted file."""
    at = log.find(trace) if trace else -1
    return at >= 0 and PLANTED in log[max(0, at - 4_000) : at + 20_000]
