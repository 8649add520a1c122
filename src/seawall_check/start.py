"""Starting and stopping the app under test.

The app's own command (`[check] start`) runs with `SEAWALL_TARGET_FILE` in its environment and writes that file when it
is ready. Everything it prints is kept: it is evidence, and the refusal text when it does not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seawall_check.config import CheckConfig
from seawall_check.errors import CheckError, DidNotStart

TARGET_FILE_ENV = "SEAWALL_TARGET_FILE"
PARENT_ENV = "SEAWALL_PARENT_PID"
"""So that the app can end when the judge is killed."""
POLL_S = 0.05
TERM_TIMEOUT_S = 10.0
LOG_TAIL_CHARS = 8_000
LOG_MAX_BYTES = 64 * 1024 * 1024
SHARED_STATE = (".seawall",)
"""Development state that a changed copy shares by a link, so that a variant needs no database server of its own."""
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", "*.pyc", "node_modules", "build", "dist", ".*_cache", *SHARED_STATE
)


@dataclass(frozen=True)
class Change:
    """How a variant differs from the app as it is.

    Args:
        env: environment variables to set; documented settings, for example.
        edit: file → (old text, new text). The old text must be there exactly once.
        plant: file → whole text of a file to write.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    edit: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    plant: Mapping[str, str] = field(default_factory=dict)

    @property
    def copies(self) -> bool:
        return bool(self.edit or self.plant)


@dataclass
class Running:
    """A started app: its process, the document it wrote, and its log."""

    process: asyncio.subprocess.Process
    document: dict[str, Any]
    log_path: Path
    root: Path
    seconds: float

    def log(self) -> str:
        """Everything the app has printed so far."""
        with self.log_path.open("rb") as file:
            return file.read(LOG_MAX_BYTES).decode("utf-8", "replace")


@contextlib.asynccontextmanager
async def started(config: CheckConfig, change: Change | None = None) -> AsyncIterator[Running]:
    """The app, running, for as long as the context lasts; changed if `change` says so.

    Raises:
        DidNotStart: it ended or did not become ready in `ready_timeout_s`; carries what it printed.
        CheckError: the command does not exist, or an edit's old text is not in the file.
    """
    change = change or Change()
    with tempfile.TemporaryDirectory(prefix="seawall-check-") as folder:
        work = Path(folder)
        root = _changed_copy(config.root, work / "app", change) if change.copies else config.root
        process, log_path, begun = await _spawn(config, root, work, change.env)
        try:
            document = await _ready(process, work / "target.json", log_path, config.ready_timeout_s)
            yield Running(process, document, log_path, root, time.monotonic() - begun)
        finally:
            await _stop(process)


async def _spawn(
    config: CheckConfig, root: Path, work: Path, env: Mapping[str, str]
) -> tuple[asyncio.subprocess.Process, Path, float]:
    # Beside our own interpreter are the scripts of the environment that we run in; the app's command is one of them.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1", TARGET_FILE_ENV: str(work / "target.json")}
    environment[PARENT_ENV] = str(os.getpid())
    log_path = work / "app.log"
    with log_path.open("wb") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                *resolved(config.start),
                cwd=root,
                env=environment | dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise CheckError(
                f"cannot run {config.start[0]!r}: {error.strerror}", fix="correct [check] start in seawall.toml"
            ) from None
    return process, log_path, time.monotonic()


async def ran(command: tuple[str, ...], root: Path, env: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    """Run an operator's command to its end; gives its exit code and what it printed.

    Raises:
        CheckError: there is no such command.
        TimeoutError: it took longer; it is killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *resolved(command),
            cwd=root,
            env=os.environ | dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise CheckError(
            f"cannot run {command[0]!r}: {error.strerror}", fix="correct commands in target.json"
        ) from None
    try:
        async with asyncio.timeout(timeout_s):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, printed.decode("utf-8", "replace")


def resolved(start: tuple[str, ...]) -> tuple[str, ...]:
    """`python` means the interpreter that the judge runs on; other names are looked up on the PATH."""
    beside = Path(sys.executable).parent / start[0]
    if start[0] in {"python", "python3"}:
        return (sys.executable, *start[1:])
    return (str(beside), *start[1:]) if os.sep not in start[0] and beside.is_file() else start


def _changed_copy(root: Path, copy: Path, change: Change) -> Path:
    shutil.copytree(root, copy, ignore=NOT_COPIED, symlinks=True)
    for name in SHARED_STATE:
        if (root / name).is_dir():
            (copy / name).symlink_to(root / name, target_is_directory=True)
    for name, text in change.plant.items():
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for name, (old, new) in change.edit.items():
        path = copy / name
        text = path.read_text("utf-8") if path.is_file() else ""
        if text.count(old) != 1:
            raise CheckError(f"{name} holds the text to edit {text.count(old)} times, not once", why=repr(old[:200]))
        path.write_text(text.replace(old, new), "utf-8")
    return copy


async def _ready(process: asyncio.subprocess.Process, path: Path, log_path: Path, timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise DidNotStart(f"the app ended with code {process.returncode}", text=_tail(log_path))
        # The file may be half written; a document that does not parse yet is not there yet.
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(path.read_bytes())  # noqa: ASYNC240 - a local file, a few kB
            if isinstance(document, dict):
                return document
        await asyncio.sleep(POLL_S)
    raise DidNotStart(
        f"the app wrote no {TARGET_FILE_ENV} within {timeout_s:.0f} s",
        text=_tail(log_path),
        fix="see docs/target.md for what it has to write, or raise [check] ready_timeout_s",
    )


def _tail(log_path: Path) -> str:
    return log_path.read_bytes()[-4 * LOG_TAIL_CHARS :].decode("utf-8", "replace")[-LOG_TAIL_CHARS:]


async def _stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM to the app, so that it can drop its scratch database; SIGKILL to its process group if it will not end.

    The group is left alone when the app ended by itself: a development database server that it started may outlive it.
    """
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), TERM_TIMEOUT_S)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
