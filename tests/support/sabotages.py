"""Which sabotages run each time, and which only in the long proofs; and that each replaces something."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable
from typing import Any

import pytest


def first_few(names: Iterable[str], count: int) -> list[Any]:
    """Parameters: the first `count` of them run with every `make test`, all of them with `make prove`."""
    return [pytest.param(name, marks=[] if place < count else [pytest.mark.prove]) for place, name in enumerate(names)]


def replaced_in_vain(python: str) -> list[str]:
    """What a sabotage assigns to and is not there: after a renaming it breaks nothing, and blames the check for it.

    Only names that are reached through an import are looked at, such as `module.Proof.verify`.
    """
    tree = ast.parse(python)
    known: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            known |= {one.asname: importlib.import_module(one.name) for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            source = importlib.import_module(node.module)
            known |= {one.asname or one.name: getattr(source, one.name) for one in node.names if one.name != "*"}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    attributes = [target for target in targets if isinstance(target, ast.Attribute)]
    return [ast.unparse(target) for target in attributes if not _there(target, known)]


def _there(target: ast.expr, known: dict[str, Any]) -> bool:
    path = ast.unparse(target).split(".")
    found = known.get(path[0])
    for name in path[1:] if found is not None else ():
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True
