"""The app's own modules, imported from its folder."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from seawall.core.errors import Refused

if TYPE_CHECKING:
    from seawall.settings import Settings


def import_module(settings: Settings, name: str) -> ModuleType:
    """A module of the app's folder, which stays on `sys.path`: the app imports its others whenever it likes.

    Raises:
        ModuleNotFoundError: there is none of that name. Whatever else the module raises is raised.
    """
    folder = str(settings.root.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


def import_models(settings: Settings) -> None:
    """Import all models, so that it is known which tables are audited and which columns are sealed.

    By `[app] models`; an app without that setting has them where the app itself is.

    Raises:
        Refused: they cannot be imported.
    """
    name = settings.app.models or settings.app.module.partition(":")[0]
    try:
        import_module(settings, name)
    except Exception as error:
        raise Refused(
            f"the app's models ({name}) cannot be imported: {type(error).__name__}: {error}",
            why="they say which tables there are, which of them are audited, and which columns are sealed",
            fix="mend the import, or set [app] models to the module that defines every model",
        ) from error
