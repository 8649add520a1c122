"""Log lines cannot be forged and hold no secrets."""

from __future__ import annotations

import json
import logging
import logging.config

import pytest
import structlog
import uvicorn.config
from tests.support.web import ask, make_app

from seawall.web import logs

NASTY = "a\r\n2026 [error] forged\x1b[31m\x00\u2028\u202eb"


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize("production", [True, False])
def test_a_value_cannot_begin_a_line(capsys, production) -> None:
    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)  # as a server does before it imports the app
    logs.configure(production=production)
    structlog.get_logger("x").info("event", fix=NASTY)
    structlog.get_logger("x").info(NASTY)
    logging.getLogger("uvicorn.error").warning("from %s", NASTY)
    out = capsys.readouterr().err
    assert len(out.splitlines()) == 3
    assert "\x1b[31m" not in out
    assert out.count("\\x0d\\x0a") + out.count("\\\\x0d\\\\x0a") == 2
    assert "from [text of" in out


def test_production_lines_are_json_without_secrets(capsys) -> None:
    logs.configure(production=True)
    structlog.get_logger("x").info("event", token="t0p", cookie="c00k", trace_id="abc", count=3)
    line = json.loads(capsys.readouterr().err)
    assert line["trace_id"] == "abc"
    assert line["count"] == 3
    assert "t0p" not in str(line)
    assert "c00k" not in str(line)


@pytest.mark.parametrize("production", [True, False])
def test_a_stack_says_where_and_production_does_not_say_what(capsys, production) -> None:
    logs.configure(production=production)
    try:
        try:
            raise KeyError("the card 4242\nforged")
        except KeyError as error:
            raise RuntimeError("outer") from error
    except RuntimeError as error:
        structlog.get_logger("x").error("failed", exc_info=error)
        logging.getLogger("other").exception("failed")
    out = capsys.readouterr().err
    assert out.count("builtins.KeyError") == 2
    assert out.count("test_logs.py") == 4
    assert ("4242" in out) is not production
    assert not any(line.startswith("forged") for line in out.splitlines())


async def test_a_request_is_one_line_without_its_path(tmp_path, capsys) -> None:
    app, _ = make_app(tmp_path)
    logs.configure(production=True)
    await ask(app, "/things/77?token=t0p")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["method"], line["status"]) == ("request", "GET", 404)
    assert line["route"] == "/things/{number}"
    await ask(app, "/data", method='X"\n')
    assert json.loads(capsys.readouterr().err)["method"] == "-"
    logs.configure(production=False)
    await ask(app, "/data?a=1")
    (shown,) = capsys.readouterr().err.splitlines()
    assert "200 GET /data " in shown
    assert "a=1" not in shown


def test_the_access_log_with_query_strings_is_off() -> None:
    logs.configure(production=True)
    assert logging.getLogger("uvicorn.access").disabled
