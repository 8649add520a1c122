"""The policies to compare with: another folder, or this folder at a git revision."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seawall.access.files import FILE_BYTES_MAX
from seawall.access.policies import SCHEMA_FILE
from seawall.core.errors import Refused

GIT_TIMEOUT_S = 30
FILES_MAX = 500


@contextmanager
def read_base(base: str, folder: Path) -> Iterator[Path]:
    """The folder of the policies that `base` names, for as long as the context lasts.

    Args:
        base: a folder (an app's or its policies'), or a git revision such as `origin/main`.
        folder: the policies of today; a revision is looked up in the repository that holds them.

    Raises:
        Refused: neither a folder nor a revision, or one without policies.
    """
    other = Path(base)
    if other.is_dir():
        for candidate in (other, other / "policies"):
            if (candidate / SCHEMA_FILE).is_file():
                yield candidate.resolve()
                return
        raise Refused(
            f"{base} holds no {SCHEMA_FILE}",
            why="there is nothing to compare with",
            fix="name a folder with policies, or a git revision",
        )
    with tempfile.TemporaryDirectory(prefix="seawall-base-") as name:
        target = Path(name)
        _check_out(base, folder, target)
        yield target


def _check_out(revision: str, folder: Path, target: Path) -> None:
    """Write the policies of a revision into `target`, without touching the working tree or its index."""
    top = _git(folder, "rev-parse", "--show-toplevel", fail=_not_a_repository(folder)).decode().strip()
    unknown = Refused(
        f"git knows no revision {revision!r} in {top}, and there is no such folder",
        why="a difference needs something to differ from",
        fix="git fetch it first (CI often clones one commit only: fetch-depth: 0), or name a folder",
    )
    commit = _git(
        folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", fail=unknown
    )
    sha = commit.decode().strip()
    inside = folder.resolve().relative_to(Path(top).resolve()).as_posix()
    listed = _git(Path(top), "ls-tree", "-z", "-l", sha, "--", f"{inside}/" if inside != "." else "", fail=unknown)
    count = 0
    for line in filter(None, listed.split(b"\0")):
        about, _, path = line.partition(b"\t")
        name = Path(path.decode("utf-8", "surrogateescape")).name
        _, kind, blob, size = about.split()
        if kind != b"blob" or not (name == SCHEMA_FILE or name.endswith(".cedar")):
            continue
        count += 1
        if int(size) > FILE_BYTES_MAX or count > FILES_MAX:
            raise Refused(
                f"{name} at {revision} is too large, or one of too many",
                why="policies are read by people",
                fix="compare with a revision of reasonable policies",
            )
        (target / name).write_bytes(_git(Path(top), "cat-file", "blob", blob.decode(), fail=unknown))
    if not (target / SCHEMA_FILE).is_file():
        raise Refused(
            f"at {revision} there is no {inside}/{SCHEMA_FILE}",
            why="there is nothing to compare with",
            fix="compare with a revision that has policies",
        )


def _not_a_repository(folder: Path) -> Refused:
    return Refused(
        f"{folder} is not in a git repository, and there is no folder of that name",
        why="a revision can only be looked up in one",
        fix="git init and commit, or name a folder with the other policies",
    )


def _git(folder: Path, *arguments: str, fail: Refused) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise Refused(
            "git is not installed",
            why="a revision can only be read by git",
            fix="install git, or name a folder with the other policies",
        )
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; the revision comes after --end-of-options
            [git, "-C", str(folder), *arguments], capture_output=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise fail from None
    if done.returncode != 0:
        raise fail
    return done.stdout
