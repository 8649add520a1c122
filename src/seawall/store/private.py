"""Files that only their owner may read: keys and identities of development, secret ids of production."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from seawall.core.errors import Refused

FILE_MAX_BYTES = 64 * 1024


def private_file(path: Path, make: Callable[[], str]) -> str:
    """The text of a file that only its owner may read; made, atomically, when it is not there.

    Raises:
        Refused: when others may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make())
        try:
            # Of two processes that start at once, the first link wins and both read the same file.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return private_text(path)


def private_text(path: Path) -> str:
    """The text of a file that only its owner may read.

    Raises:
        Refused: it is not there, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(FILE_MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"{path} cannot be read: {type(error).__name__}",
            why="it is a key, and there is no default for one",
            fix="put it there, readable by the app's user only, see docs/guide/secrets.md",
        ) from None
    if mode & 0o077:
        raise Refused(f"{path} can be read by others", why="it is a key", fix=f"chmod 600 {path}")
    return text


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 whole or not at all, and make it last."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(path)
