"""Write `docs/controls/`: a page for each control, from the docstring of its check, so that they cannot drift apart.

Usage: python tools/docs.py [--check]     --check writes nothing and exits 1 when a page is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

from seawall_check.control import Found, discover

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "controls"
SECTIONS = ("Why", "How it is attacked", "How to fix")


def page(found: Found) -> str:
    """The Markdown page of one control."""
    lines = [f"# {found.control.id}", "", f"**{found.control.title}**", ""]
    if found.control.refs:
        lines += [f"References: {', '.join(found.control.refs)}", ""]
    body = found.doc.splitlines()[1:]
    for line in body:
        title = line.strip().rstrip(":")
        lines += ["", f"## {title}", ""] if title in SECTIONS else [line.removeprefix("    ")]
    check = found.path.relative_to(ROOT)
    sabotage = Path("tests/sabotage") / found.heading / f"test_{found.path.stem}.py"
    lines += ["", "## Where it is", "", f"- check: [`{check}`](../../../{check})"]
    if (ROOT / sabotage).exists():
        lines.append(f"- sabotage: [`{sabotage}`](../../../{sabotage})")
    lines += [f"- run it: `seawall check --only {found.control.id}`", ""]
    text = "\n".join(lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def index(controls: tuple[Found, ...]) -> str:
    """The list of all pages."""
    lines = [
        "# Controls",
        "",
        "Written by `make docs` from the checks themselves.",
        "",
        "| control | what holds |",
        "|---|---|",
    ]
    for found in controls:
        slug = found.control.id.partition("/")[2]
        lines.append(f"| [{found.control.id}]({found.heading}/{slug}.md) | {found.control.title} |")
    return "\n".join([*lines, ""])


def pages() -> dict[Path, str]:
    """Every file of `docs/controls/` as it should be."""
    controls = discover()
    wanted = {FOLDER / "README.md": index(controls)}
    for found in controls:
        heading, _, slug = found.control.id.partition("/")
        wanted[FOLDER / heading / f"{slug}.md"] = page(found)
    return wanted


def main(arguments: list[str]) -> int:
    wanted = pages()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    orphans = [path for path in FOLDER.rglob("*.md") if path not in wanted]
    if "--check" in arguments:
        for path in [*stale, *orphans]:
            print(f"{path.relative_to(ROOT)}: out of date; run `make docs`")
        return 1 if stale or orphans else 0
    for path in orphans:
        path.unlink()
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    print(f"docs/controls: {len(wanted)} pages, {len(stale)} written, {len(orphans)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
