"""YAML as people read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from seawall.access.files import read_text
from seawall.core.errors import Refused

DEPTH_MAX = 12


class _Plain(yaml.SafeLoader):
    """YAML as people read it: no anchors (nine lines of them are a gigabyte), no key twice, no deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not taken", self.get_mark())
        if self.depth >= DEPTH_MAX:
            raise yaml.MarkedYAMLError(None, None, "it is nested too deeply", self.get_mark())
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str) or key in seen or key == "<<":
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} stands there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _yaml_1_2() -> None:
    """YAML 1.1 reads `on`, `no` and `yes` as booleans, `010` as eight and `1:30` as ninety; 1.2, and people, do not."""
    odd = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:int")
    _Plain.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in odd]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _Plain.add_implicit_resolver(odd[0], re.compile(r"(?:true|false)\Z"), list("tf"))
    _Plain.add_implicit_resolver(odd[1], re.compile(r"-?(?:0|[1-9][0-9]*)\Z"), list("-0123456789"))


_yaml_1_2()


def read_yaml(path: Path) -> Any:
    """A YAML file of plain values.

    Raises:
        Refused: naming the file and the line.
    """
    text = read_text(path)
    try:
        return yaml.load(text, Loader=_Plain)  # noqa: S506 - a SafeLoader, and stricter
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        raise Refused(
            f"{path.name}:{line} {getattr(error, 'problem', None) or 'it is not YAML'}",
            why="a test that cannot be read tests nothing",
            fix="correct that line",
        ) from None
    except (ValueError, RecursionError) as error:
        raise Refused(
            f"{path.name}: a value is malformed: {type(error).__name__}",
            why="a test that cannot be read tests nothing",
            fix="correct it; a time is written 2026-01-15T12:00:00Z",
        ) from None
