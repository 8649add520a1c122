"""What leaves when something is wrong."""

from __future__ import annotations

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from tests.support.web import COOKIE, HTML, JSON, SAME_ORIGIN, ask

from seawall import web
from seawall.core.errors import NotFound, Refused
from seawall.settings import Settings
from seawall.web.errors import told, told_status

LEAKS = [b"Traceback", b".py", b"fastapi", b"pydantic", b"starlette", b"asyncpg", b"SECRET", b"RuntimeError"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", b"", 404, "not-found"),
        ("GET", "/data/", b"", 404, "not-found"),
        ("DELETE", "/data", b"", 405, "method-not-allowed"),
        ("POST", "/notes", b'{"text":', 422, "unprocessable"),
        ("POST", "/notes", b"[" * 100_000, 400, "bad-request"),
        ("POST", "/notes", b'{"text":1}', 422, "unprocessable"),
        ("POST", "/notes", b'{"text":"a","size":1e400}', 422, "unprocessable"),
        ("POST", "/notes", b'{"text":"\\ud800"}', 400, "bad-encoding"),
        ("POST", "/notes", b"null", 422, "unprocessable"),
        ("GET", "/things/x", b"", 422, "unprocessable"),
        ("GET", "/things/1", b"", 404, "not-found"),
        ("POST", "/write?fail=crash", b"", 500, "internal"),
    ],
)
async def test_problem_details_and_nothing_else(wall, method, path, body, status, code) -> None:  # noqa: PLR0917
    app, _ = wall
    headers = {**COOKIE, **SAME_ORIGIN, **(JSON if body else {})}
    answer = await ask(app, path, method=method, headers=headers, body=body)
    assert answer.status == status
    assert answer.header("content-type") == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["trace_id"] == answer.header("x-trace-id")
    assert set(problem) <= {"type", "title", "status", "code", "trace_id", "detail", "errors"}
    for leak in LEAKS:
        assert leak not in answer.body


async def test_input_is_not_echoed(wall) -> None:
    app, _ = wall
    body = b'{"text":["MARK-1"],"<MARK-2>":1,"size":"MARK-3"}'
    answer = await ask(app, "/notes", method="POST", headers=JSON, body=body)
    assert answer.status == 422
    assert b"MARK" not in answer.body
    by_type = {error["type"]: error["loc"] for error in answer.json()["errors"]}
    assert by_type["string_type"] == ["body", "text"]
    assert by_type["extra_forbidden"] == ["body", "?"]


async def test_people_get_a_page(wall) -> None:
    app, _ = wall
    answer = await ask(app, "/write?fail=crash", method="POST", headers={**COOKIE, **SAME_ORIGIN, **HTML})
    assert answer.status == 500
    assert answer.header("content-type").startswith("text/html")
    assert answer.header("x-trace-id").encode() in answer.body
    assert b"Shop &amp; Co" in answer.body
    for leak in LEAKS:
        assert leak not in answer.body


async def test_a_broken_error_page_is_still_a_refusal(wall) -> None:
    app, runtime = wall
    runtime.pages = None
    answer = await ask(app, "/nowhere", headers=HTML)
    assert (answer.status, answer.json()["code"]) == (404, "not-found")


async def test_405_says_what_is_allowed(wall) -> None:
    app, _ = wall
    assert (await ask(app, "/data", method="DELETE")).header("allow") == "GET"


def test_database_errors_by_class() -> None:
    unique = asyncpg.UniqueViolationError("Key (email)=(a@b)")
    wrapped = DBAPIError("insert", {"email": "a@b"}, unique)
    assert told(unique).status == told(wrapped).status == 409
    assert "a@b" not in str(told(wrapped))
    assert told(asyncpg.NumericValueOutOfRangeError("x")).status == 422
    assert told(asyncpg.InsufficientPrivilegeError("x")).status == 500
    assert told(asyncpg.exceptions._base.DataError("value out of int32 range")).status == 422
    assert told(asyncpg.InterfaceError("pool is closed")).status == 500
    assert told(ValueError("x")) == told_status(500)


def test_a_conflict_of_two_requests_says_when_to_come_again() -> None:
    for error in (asyncpg.DeadlockDetectedError("Process 1 waits"), asyncpg.SerializationError("could not serialize")):
        assert told(error).headers == {"Retry-After": "1"}
    assert told(asyncpg.UniqueViolationError("x")).headers == {}  # the same request would fail the same way


def test_what_a_task_group_wrapped_is_told_as_itself() -> None:
    one = ExceptionGroup("unhandled", [ExceptionGroup("inner", [NotFound()])])
    assert (told(one).status, told(one).code) == (404, "not-found")
    assert told(ExceptionGroup("two", [NotFound(), ValueError("x")])) == told_status(500)


def test_debug_mode_stops_the_start(tmp_path) -> None:
    with pytest.raises(Refused, match="debug"):
        web.include(FastAPI(debug=True), settings=Settings(root=tmp_path))


async def test_who_owes_a_second_factor_comes_back_from_proving_it(wall) -> None:
    app, _ = wall
    sent = await ask(app, "/owes?page=2", headers={**COOKIE, **HTML})
    assert (sent.status, sent.header("location")) == (303, "/auth/second-factor?next=/owes%3Fpage%3D2")
    told_as_data = await ask(app, "/owes?page=2", headers=COOKIE)
    assert (told_as_data.status, told_as_data.json()["code"]) == (403, "second-factor-required")
    assert told_as_data.json()["second_factor"] == "/auth/second-factor"
