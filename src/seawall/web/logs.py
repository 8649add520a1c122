"""Logs: JSON in production, readable in development, one line an event, nothing secret in either.

Three traps are closed here, once, for Seawall's own loggers and the standard library's (uvicorn, SQLAlchemy, Alembic):

- *Log injection* (ASVS 16.4.1): every control character of every value is escaped before a renderer sees it, so that a
  value from a request cannot begin a line of its own or recolour a terminal.
- *Secrets and people* (ASVS 16.2.5): values are kept by type and field (`web.redaction`), and fields that could hold a
  secret are dropped by name. Query strings, bodies, cookies and headers are never passed to a logger in the first
  place; uvicorn's access log, which prints query strings, is switched off.
- *Exceptions*: the stack is logged as places and types. Messages of exceptions often quote the offending row or value
  (asyncpg's do), so they are left out, unless `[web] log_exception_text` asks for them in development.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from seawall.web.redaction import argument_of, scrubbed, value_of

DROPPED_FIELDS = frozenset(
    {
        "authorization", "body", "code", "context", "cookie", "cookies", "headers", "params", "password", "query",
        "query_string", "secret", "set_cookie", "token",
    }
)  # fmt: skip
"""Names of fields whose values never reach a log."""

VALUE_MAX_CHARS = 4_000
FRAMES_MAX = 30
CAUSES_MAX = 5

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""C0 and C1 controls, Unicode line ends, and the bidirectional overrides that make a line read as another."""

EventDict = MutableMapping[str, Any]


def escaped(value: str) -> str:
    r"""`value` with each control character written as `\xNN` or `\uNNNN`, bounded to `VALUE_MAX_CHARS`."""
    if len(value) > VALUE_MAX_CHARS:
        value = value[:VALUE_MAX_CHARS] + "…"
    return _CONTROL.sub(_escape, value)


def _escape(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def stack_of(error: BaseException, *, messages: bool) -> list[str]:
    """Where an exception came from, outermost cause last: `Type` then `file:line function` for each frame.

    Args:
        error: the exception.
        messages: whether to add its text, escaped. Only development does.
    """
    lines: list[str] = []
    current: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if current is None:
            break
        name = f"{type(current).__module__}.{type(current).__qualname__}"
        lines.append(f"{name}: {escaped(scrubbed(str(current)))}" if messages else name)
        frames = traceback.extract_tb(current.__traceback__)[-FRAMES_MAX:]
        lines.extend(f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


class _Clean:
    """The processor that every event passes before it is rendered."""

    def __init__(self, *, messages: bool) -> None:
        self._messages = messages

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        error = event.pop("exc_info", None)
        if error is True:
            error = sys.exc_info()[1]
        elif isinstance(error, tuple):
            error = error[1]
        cleaned: EventDict = {}
        for key, value in event.items():
            if key in DROPPED_FIELDS:
                continue
            cleaned[escaped(key)] = self._kept(key, value)
        if isinstance(error, BaseException):
            cleaned["stack"] = stack_of(error, messages=self._messages)
        event.clear()
        event.update(cleaned)
        return event

    @staticmethod
    def _kept(key: str, value: Any) -> Any:
        kept = scrubbed(str(value)) if key == "event" else value_of(key, value)
        if isinstance(kept, list):
            return [escaped(one) if isinstance(one, str) else one for one in kept]
        return escaped(kept) if isinstance(kept, str) else kept


class _Arguments(logging.Filter):
    """Of a library's line only the template is a literal; its arguments are values, and kept as values are."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, dict):
            record.args = {key: argument_of(value) for key, value in record.args.items()}
        elif record.args:
            record.args = tuple(argument_of(value) for value in record.args)
        if record.name == "asyncio":
            record.msg = str(record.msg).partition("\n")[0]  # then come the task and its exception, as text
        return True


def _json(_logger: Any, _method: str, event: EventDict) -> str:
    return orjson.dumps(dict(event), default=str).decode()


class _Readable:
    """One line an event for a developer's terminal; a stack follows it indented."""

    def __init__(self, *, colours: bool) -> None:
        self._console = structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=0)

    def __call__(self, logger: Any, method: str, event: EventDict) -> str:
        stack: list[str] = event.pop("stack", [])
        line = self._console(logger, method, event)
        return "\n".join([str(line), *(f"    {entry}" for entry in stack)])


class _Requests:
    """The line of a request, written without structlog: it is on the path of every one, and its values need no cleaning
    because the wall made or checked all of them."""

    def __init__(self) -> None:
        self.production = False
        self.enabled = False

    def __call__(self, *, method: str, route: str, status: int, elapsed_s: float, trace_id: str) -> None:
        if not self.enabled:
            return
        now = datetime.now(UTC).isoformat()[:26] + "Z"
        elapsed_ms = round(elapsed_s * 1000, 1)
        if self.production:
            line = (
                f'{{"event":"request","method":"{method}","route":"{route}","status":{status},"ms":{elapsed_ms},'
                f'"trace_id":"{trace_id}","level":"info","timestamp":"{now}"}}\n'
            )
        else:
            line = f"{now} [info     ] {status} {method} {route} {elapsed_ms} ms trace_id={trace_id}\n"
        sys.stderr.write(line)


request_line = _Requests()
"""Says what was answered: `request_line(method=…, route=…, …)`. `route` is the template of the path, such as
`/orders/{order_id}`, never the path itself. Silent until `configure`."""


def configure(*, production: bool, level: int = logging.INFO, messages: bool | None = None) -> None:
    """Set up structlog and the standard library's root logger to write to standard error. May be called again.

    Args:
        production: JSON instead of lines for people.
        level: the least that is written.
        messages: whether texts of exceptions are written; by default outside production.
    """
    texts = not production if messages is None else messages
    request_line.production, request_line.enabled = production, level <= logging.INFO
    clean = _Clean(messages=texts)
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        clean,
    ]
    render = _json if production else _Readable(colours=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StandardError(),
        cache_logger_on_first_use=False,
    )
    _catch_the_uncaught(texts)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Arguments())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=())],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *shared,
                render,
            ],
            use_get_message=True,
            keep_exc_info=False,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        # uvicorn gives its loggers handlers and levels of their own, which would write past the escaping, or not at all
        logger.handlers, logger.propagate, logger.disabled = [], True, False
        logger.setLevel(logging.NOTSET)
    access = logging.getLogger("uvicorn.access")
    # It prints the query string, where people put tokens; the wall has its own line a request.
    access.handlers, access.propagate, access.disabled = [], False, True


def _catch_the_uncaught(texts: bool) -> None:
    """What nobody catches is printed by Python with its text, past every logger; then it goes through ours."""
    if texts:
        sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
        sys.unraisablehook = sys.__unraisablehook__
        return
    log = structlog.get_logger("seawall")
    sys.excepthook = lambda kind, error, trace: log.critical("uncaught", exc_info=error)
    threading.excepthook = lambda uncaught: log.critical("uncaught in a thread", exc_info=uncaught.exc_value)
    sys.unraisablehook = lambda uncaught: log.error("unraisable", exc_info=uncaught.exc_value)


class _StandardError:
    """A logger factory that looks up `sys.stderr` late, so that a test that captures it sees the lines."""

    def __call__(self, *_args: Any) -> structlog.PrintLogger:
        return structlog.PrintLogger(file=sys.stderr)
