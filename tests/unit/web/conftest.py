from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.web import MemoryRuntime, make_app

from seawall import web


@pytest.fixture
def wall(tmp_path: Path) -> tuple[web.Wall, MemoryRuntime]:
    return make_app(tmp_path)
