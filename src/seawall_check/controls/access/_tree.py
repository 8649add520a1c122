"""Copies of the app's source tree with something planted in its policies, and the commands that CI runs on them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall_check.errors import Unproven
from seawall_check.start import NOT_COPIED
from seawall_check.target import Target

SCHEMA = "schema.cedarschema"
COMMAND_TIMEOUT_S = 420.0
AT_ONCE = 2


@dataclass(frozen=True)
class Run:
    """What a command came to. `report` is what it printed as JSON, empty when it printed none."""

    code: int
    report: Mapping[str, Any]
    text: str

    def findings(self, code: str) -> list[str]:
        """The policies that a finding of this code names."""
        return [str(one.get("policy")) for one in self.report.get("findings", ()) if one.get("code") == code]


class Trees:
    """Makes copies of one target's tree below a folder, and runs the app's own `seawall policy` there."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def copy(self, name: str) -> Path:
        """A copy of the whole tree, without what is made at run time."""
        copy = self._folder / name
        shutil.copytree(self._target.source, copy, ignore=NOT_COPIED, symlinks=True)
        return copy

    async def policy(self, tree: Path, *arguments: str) -> Run:
        """`seawall policy …` in a tree, with the environment that the app was started with.

        Raises:
            Unproven: it took too long.
        """
        beside = Path(sys.executable).parent / "seawall"
        command = str(beside) if beside.is_file() else "seawall"
        environment = os.environ | dict(self._target.change.env)
        async with self._at_once:
            process = await asyncio.create_subprocess_exec(
                command,
                "policy",
                *arguments,
                "--json",
                cwd=tree,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                out, err = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
                raise Unproven(f"seawall policy {arguments[0]} took longer than {COMMAND_TIMEOUT_S:.0f} s") from None
        return Run(process.returncode or 0, _json(out), (out + err).decode("utf-8", "replace"))


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def digest(folder: Path) -> str:
    """SHA-256 of a tree's schema and policies: by name, each name, a zero byte, the SHA-256 of its bytes."""
    whole = hashlib.sha256()
    for path in sorted([folder / SCHEMA, *folder.glob("*.cedar")], key=lambda path: path.name):
        whole.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def statements(text: str) -> list[str]:
    """The policies of a Cedar file as they stand in it: each ends with a semicolon outside brackets and strings."""
    found: list[str] = []
    begun, depth, at = 0, 0, 0
    while at < len(text):
        sign = text[at]
        if sign == '"':
            at += 1
            while at < len(text) and text[at] != '"':
                at += 2 if text[at] == "\\" else 1
        elif text.startswith("//", at):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif sign in "({[":
            depth += 1
        elif sign in ")}]":
            depth -= 1
        elif sign == ";" and depth == 0:
            found.append(text[begun : at + 1])
            begun = at + 1
        at += 1
    return found
