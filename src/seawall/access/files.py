"""Reading the files of `policies/`: bounded, UTF-8, without a byte order mark."""

from __future__ import annotations

from pathlib import Path

from seawall.core.errors import Refused

FILE_BYTES_MAX = 1024 * 1024
BOM = b"\xef\xbb\xbf"


def read_text(path: Path) -> str:
    """A text file of at most 1 MiB, in UTF-8 without a byte order mark.

    Raises:
        Refused: naming the file, for anything else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Refused(
            f"{path.name} cannot be read: {error.strerror}",
            why="what is not read is not tested",
            fix="check that it is a file and that you may read it",
        ) from None
    if len(data) > FILE_BYTES_MAX:
        raise Refused(
            f"{path.name} is larger than {FILE_BYTES_MAX // 1024} KiB",
            why="policies and their tests are read by people",
            fix="split it into several files",
        )
    if data.startswith(BOM):
        raise Refused(
            f"{path.name} begins with a byte order mark",
            why="Cedar does not take one, and it cannot be seen in an editor",
            fix="save it as UTF-8 without BOM",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            f"{path.name} is not UTF-8: byte {error.start}",
            why="a name that is read in another encoding is another name",
            fix="save it as UTF-8",
        ) from None
