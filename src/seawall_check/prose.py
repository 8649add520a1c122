"""The prose of a control, from its docstring: title, why, how it is attacked, how to fix."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

SECTIONS = ("Why", "How it is attacked", "How to fix")
_HEADING = re.compile(rf"^(?:#+\s*)?({'|'.join(SECTIONS)})\s*(?:[:.—-]\s*(.*))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Prose:
    """A control's docstring in parts. `sections` is in the order of `SECTIONS`; each body is paragraphs."""

    title: str
    lead: str
    sections: tuple[tuple[str, str], ...]

    def section(self, name: str) -> str:
        return next((body for title, body in self.sections if title == name), "")


def parse(doc: str) -> Prose:
    """Read a docstring. Text before the first heading, the title line apart, becomes `lead`."""
    lines = doc.strip().splitlines() or [""]
    parts: dict[str, list[str]] = {"": []}
    current = ""
    for line in lines[1:]:
        found = _HEADING.match(line)
        if found:
            current = next(name for name in SECTIONS if name.lower() == found[1].lower())
            parts[current] = [found[2]] if found[2] else []
        else:
            parts[current].append(line)
    sections = tuple((name, _dedent(parts[name])) for name in SECTIONS if name in parts)
    return Prose(lines[0].strip().rstrip("."), _dedent(parts[""]), sections)


def paragraphs(text: str) -> list[str]:
    """Paragraphs, each on one line; lists and indented code keep their lines."""
    blocks = re.split(r"\n\s*\n", text.strip()) if text.strip() else []
    return [block if re.search(r"(?m)^(\s|[-*] |\d+\. )", block) else " ".join(block.split()) for block in blocks]


def _dedent(lines: list[str]) -> str:
    head, rest = ([lines[0]], lines[1:]) if lines and lines[0] and not lines[0].startswith(" ") else ([], lines)
    return "\n".join([*head, textwrap.dedent("\n".join(rest))]).strip()
