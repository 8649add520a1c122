"""Gate C, and what is kept or undone with which answer."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from tests.support.web import COOKIE, HTML, SAME_ORIGIN, ask

from seawall.core.events import Decision


@pytest.mark.parametrize("path", ["/undecided", "/undecided-stream", "/undecided-redirect"])
async def test_an_undecided_answer_never_leaves(wall, path) -> None:
    app, _ = wall
    answer = await ask(app, path)
    assert answer.status == 500
    assert answer.json()["code"] == "undecided"
    assert b"SECRET" not in answer.body
    assert "SECRET" not in str(answer.headers)


async def test_a_decided_answer_leaves(wall) -> None:
    app, _ = wall
    answer = await ask(app, "/data")
    assert (answer.status, answer.json()) == (200, {"one": 1})


async def test_a_change_is_committed_with_its_events_before_the_answer_begins(wall) -> None:
    app, runtime = wall
    answer = await ask(app, "/write", method="POST", headers={**COOKIE, **SAME_ORIGIN})
    assert answer.status == 200
    assert runtime.log == ["begin", ("commit", 1)]
    assert answer.header("set-cookie") == "a=b; Path=/"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("status=404", 404, None),
        ("fail=conflict", 409, "conflict"),
        ("fail=crash", 500, "internal"),
        ("fail=step-up", 401, "step-up-required"),
        ("status=502", 500, "internal"),
    ],
)
async def test_a_refusal_undoes_the_change_and_records_why(wall, query, status, code) -> None:
    app, runtime = wall
    answer = await ask(app, f"/write?{query}", method="POST", headers={**COOKIE, **SAME_ORIGIN})
    assert answer.status == status
    assert runtime.log == ["begin", "rollback", ("refusals", 1)]
    if code:
        assert answer.json()["code"] == code
    assert b"SECRET" not in answer.body


@pytest.mark.parametrize("words", ["true", "false"])
async def test_under_break_glass_a_refusal_whose_reads_are_not_recorded_says_nothing(wall, words: str) -> None:
    app, runtime = wall
    runtime.rollback_error = asyncpg.InFailedSQLTransactionError("the events of what was read are gone")
    told = await ask(app, f"/refused?words={words}&break_glass=false", headers=COOKIE)
    assert (told.status, b"Ada Quinn" in told.body) == (409, True)
    told = await ask(app, f"/refused?words={words}&break_glass=true", headers=COOKIE)
    assert (told.status, told.json()["code"]) == (500, "internal")
    assert b"Ada" not in told.body
    runtime.rollback_error = None
    assert (await ask(app, f"/refused?words={words}&break_glass=true", headers=COOKIE)).status == 409


async def test_a_redirect_to_step_up_is_a_refusal_although_it_is_below_400(wall) -> None:
    app, runtime = wall
    headers = {**COOKIE, **SAME_ORIGIN, **HTML}
    answer = await ask(app, "/write?fail=step-up", method="POST", headers=headers)
    assert (answer.status, answer.header("location")) == (303, "/auth/step-up/c1")
    assert runtime.log == ["begin", "rollback", ("refusals", 1)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("commit"), 500),
        (asyncpg.SerializationError("serialize"), 409),
        (asyncpg.UniqueViolationError("Key (email)=(a@b) already exists"), 409),
        (asyncpg.QueryCanceledError("statement timeout"), 503),
    ],
)
async def test_a_failed_commit_is_not_a_success(wall, error, status) -> None:
    app, runtime = wall
    runtime.commit_error = error
    answer = await ask(app, "/write", method="POST", headers={**COOKIE, **SAME_ORIGIN})
    assert answer.status == status
    assert runtime.log == ["begin", "commit failed", "rollback", ("refusals", 1)]
    assert b"a@b" not in answer.body
    assert b"written" not in answer.body


async def test_cancellation_rolls_back(wall) -> None:
    app, runtime = wall
    answer = await ask(app, "/write?fail=cancel", method="POST", headers={**COOKIE, **SAME_ORIGIN})
    assert isinstance(answer.error, asyncio.CancelledError)
    assert runtime.log == ["begin", "rollback"]


async def test_a_crash_in_a_stream_cuts_the_answer_short(wall) -> None:
    app, runtime = wall
    answer = await ask(app, "/stream", headers=COOKIE)
    assert answer.status == 200
    assert answer.body == b"one"
    assert isinstance(answer.error, RuntimeError)
    assert runtime.log == ["begin", ("commit", 0)]


async def test_lost_refusal_events_do_not_turn_a_refusal_into_anything_else(wall) -> None:
    app, runtime = wall
    runtime.record_error = RuntimeError("audit is down")
    answer = await ask(app, "/write?fail=conflict", method="POST", headers={**COOKIE, **SAME_ORIGIN})
    assert answer.status == 409


async def test_lost_events_of_a_success_withhold_it(wall) -> None:
    app, runtime = wall
    runtime.record_error = RuntimeError("audit is down")
    inner = app._app

    async def with_event(scope, receive, send) -> None:
        scope["seawall.passage"].events.append(Decision(action="read", resource="x", effect="allow"))
        await inner(scope, receive, send)

    app._app = with_event
    answer = await ask(app, "/data")
    assert answer.status == 500
    assert b"one" not in answer.body


async def test_an_app_that_never_answers_is_a_500(wall) -> None:
    app, _ = wall

    async def silent(scope, receive, send) -> None: ...

    app._app = silent
    answer = await ask(app, "/data")
    assert (answer.status, answer.json()["code"]) == (500, "internal")


async def test_someone_without_a_session_is_sent_to_sign_in_and_back(wall) -> None:
    app, _ = wall
    page = await ask(app, "/private?a=1&b=%2F", headers=HTML)
    assert (page.status, page.header("location")) == (303, "/auth/sign-in?next=/private%3Fa%3D1%26b%3D%252F")
    data = await ask(app, "/private")
    assert (data.status, data.json()["code"]) == (401, "not-signed-in")


async def test_htmx_is_told_to_go_and_does_not_follow_silently(wall) -> None:
    app, _ = wall
    answer = await ask(app, "/private", headers={"hx-request": "true"})
    assert (answer.status, answer.header("hx-redirect")) == (401, "/auth/sign-in?next=/private")


async def socket(app, headers, inner) -> list[dict]:
    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {"type": "websocket.connect"}

    app._app = inner
    scope = {"type": "websocket", "scheme": "wss", "path": "/ws", "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    return sent


async def test_a_socket_needs_our_origin_and_a_decision(wall) -> None:
    app, _ = wall
    host, origin = (b"host", b"shop.localhost"), (b"origin", b"https://shop.localhost")

    async def undecided(scope, receive, send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "secret"})

    async def decided(scope, receive, send) -> None:
        scope["seawall.passage"].decision = "decided"
        await undecided(scope, receive, send)

    assert [m["type"] for m in await socket(app, [host, origin], decided)] == ["websocket.accept", "websocket.send"]
    assert [m["type"] for m in await socket(app, [host, origin], undecided)] == ["websocket.close"]
    foreign = [host, (b"origin", b"https://evil.example")]
    assert [m["type"] for m in await socket(app, foreign, decided)] == ["websocket.close"]
    assert [m["type"] for m in await socket(app, [host], decided)] == ["websocket.close"]
