"""How a refusal looks at the terminal: what, why, fix; never a stack trace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from seawall.core.errors import Refused

EXIT_REFUSED = 2


@contextmanager
def refusals_shown() -> Iterator[None]:
    """Print a `Refused` for the developer and exit with code 2."""
    try:
        yield
    except Refused as refused:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(Text("refused ", "bold red") + Text(refused.what))
        console.print(Text("  why: ", "dim") + Text(refused.why))
        console.print(Text("  fix: ", "green") + Text(refused.fix))
        sys.exit(EXIT_REFUSED)
