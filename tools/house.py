"""House rules that no linter knows: files of at most 400 lines, functions of at most 70, nothing left for later.

Usage: python tools/house.py [FOLDER…]     exit 1 and one line for each finding
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
LEFT_FOR_LATER = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
FOLDERS = ("src", "tests", "tools", "bench")

ROOT = Path(__file__).resolve().parent.parent


def findings(path: Path) -> Iterator[str]:
    """What is wrong with one Python file, as `path:line: words`."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    if len(lines) > FILE_LINES_MAX:
        yield f"{shown}:{len(lines)}: {len(lines)} lines; at most {FILE_LINES_MAX}"
    for number, line in enumerate(lines, 1):
        for mark in LEFT_FOR_LATER:
            if mark in line.split("#", 1)[-1].split() or f"{mark}:" in line:
                yield f"{shown}:{number}: {mark}: finish it or write an issue"
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{shown}:{node.lineno}: {node.name} has {length} lines; at most {FUNCTION_LINES_MAX}"


def python_files(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_file():
            yield folder
        else:
            yield from sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def main(arguments: list[str]) -> int:
    folders = [Path(argument).resolve() for argument in arguments] or [ROOT / name for name in FOLDERS]
    found = [line for path in python_files(folders) for line in findings(path)]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
