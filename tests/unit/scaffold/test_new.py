"""`seawall new`: names, atomicity, and an app that is whole."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import jinja2
import pytest
from typer.testing import CliRunner

from seawall.access import read_policies
from seawall.cli import application
from seawall.core.errors import Refused
from seawall.scaffold import kinds, new
from seawall.scaffold.new import FILES_MAX, TEMPLATES, fill


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new("restaurant", "shop", tmp_path_factory.mktemp("apps"))


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_app_has_at_most_twenty_files(shop: Path) -> None:
    assert 10 < len(files_of(shop)) <= FILES_MAX == 20


def test_nothing_of_the_template_is_left_over(shop: Path) -> None:
    for path in files_of(shop):
        text = path.read_text(encoding="utf-8")
        assert "«" not in text, path
        assert path.suffix != ".tmpl"
        assert text.endswith("\n"), path
    assert 'name = "shop"' in (shop / "pyproject.toml").read_text()


def test_every_part_parses(shop: Path) -> None:
    environment = jinja2.Environment(autoescape=True)
    for path in files_of(shop):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            ast.parse(text, path.name)
        elif path.suffix == ".toml":
            tomllib.loads(text)
        elif path.suffix == ".html":
            environment.parse(text, path.name)
    book = read_policies(shop / "policies")  # validates, and refuses a policy without @id and @title
    assert book


def test_templates_run_no_inline_code(shop: Path) -> None:
    for path in (shop / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|hx-on|\|\s*safe", text), path


def test_every_api_route_says_who_is_meant_to_call_it(shop: Path) -> None:
    declared = set(tomllib.loads((shop / "seawall.toml").read_text())["check"]["routes"])
    tree = ast.parse((shop / "api.py").read_text())
    routes = {
        f"{call.func.attr.upper()} /api{call.args[0].value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.args[0], ast.Constant)
    }
    assert len(routes) > 15
    assert declared == routes


def test_no_control_is_copied_into_the_app(shop: Path) -> None:
    """Controls live in the library, or upgrading it would not mend old apps."""
    source = "\n".join(path.read_text() for path in shop.rglob("*.py"))
    for word in (
        "set_cookie",
        "Content-Security-Policy",
        "tenant_id =",
        "cedarpy",
        "hashlib",
        "secrets.",
        "enable row level",
    ):
        assert word not in source, word


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "lower-case letters"),
        ("Shop", "lower-case letters"),
        ("9lives", "lower-case letters"),
        ("my-shop", "lower-case letters"),
        ("../shop", "lower-case letters"),
        ("shop/..", "lower-case letters"),
        ("shop\n", "lower-case letters"),
        ("café", "lower-case letters"),
        ("a" * 41, "longer than 40"),
        ("class", "word of the Python language"),
        ("match", "word of the Python language"),
        ("json", "standard library"),
        ("seawall", "the app itself uses"),
        ("orders", "the app itself uses"),
    ],
)
def test_unusable_names_are_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        new("restaurant", name, tmp_path)
    assert refused.value.fix
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "precious.txt").write_text("mine")
    with pytest.raises(Refused, match="already exists"):
        new("restaurant", "shop", tmp_path)
    assert [path.name for path in files_of(tmp_path)] == ["precious.txt"]


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "shop").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="already exists"):
        new("restaurant", "shop", tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no template 'bank'") as refused:
        new("bank", "shop", tmp_path)
    assert "restaurant" in refused.value.fix
    with pytest.raises(Refused, match="no template"):
        new("../templates/restaurant", "shop", tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not a folder"):
        new("restaurant", "shop", tmp_path / "nowhere")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write_text = Path.write_text

    def full_disk(self: Path, *args: object, **kwargs: object) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(self)
        return write_text(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(Refused, match="No space left on device"):
        new("restaurant", "shop", tmp_path)
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_mark_without_a_value_is_refused() -> None:
    assert fill("«a» and {{ b }} and [[c]]", {"a": "1"}) == "1 and {{ b }} and [[c]]"
    with pytest.raises(Refused, match="«nmae»"):
        fill("«nmae»", {"name": "shop"})


def test_templates_are_within_the_limit() -> None:
    assert kinds() == ["restaurant"]
    for kind in kinds():
        everything = [path for path in (TEMPLATES / kind).rglob("*") if path.is_file()]
        assert all(path.name.endswith(".tmpl") for path in everything)
        assert len(everything) <= FILES_MAX


def test_the_command_says_what_to_do_next(tmp_path: Path) -> None:
    result = CliRunner().invoke(application(), ["new", "restaurant", "shop", "--in", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for word in ("seawall dev", "seawall check", "AGENTS.md"):
        assert word in result.output
    again = CliRunner().invoke(application(), ["new", "restaurant", "shop", "--in", str(tmp_path)])
    assert again.exit_code != 0
