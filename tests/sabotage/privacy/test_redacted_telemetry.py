"""Personal data in the log and in the audit log."""

import pytest

UNFILTERED = """
import seawall.web.logs as module
module.argument_of = lambda value: value
"""
TALKING_REQUESTS = """
import seawall.web.wall as module
import structlog
real = module.Wall.__call__
async def call(self, scope, receive, send):
    if scope["type"] == "http":
        query = scope["query_string"].decode("latin-1")
        print("asked", scope["path"], query, flush=True)
    await real(self, scope, receive, send)
module.Wall.__call__ = call
"""


async def test_a_library_s_arguments_are_written(sabotage) -> None:
    await sabotage("privacy/redacted-telemetry", python=UNFILTERED, trips={"privacy/redacted-telemetry"})


@pytest.mark.prove
async def test_addresses_with_their_queries_are_written(sabotage) -> None:
    trips = {"privacy/redacted-telemetry", "secrets/never-logged"}
    await sabotage("privacy/redacted-telemetry", python=TALKING_REQUESTS, trips=trips)


@pytest.mark.prove
async def test_paths_are_written_as_they_came(sabotage) -> None:
    """As every server's access log does: with `%40` for the at sign, which no search for the address finds."""
    python = TALKING_REQUESTS.replace('scope["path"], query', 'scope["raw_path"].decode("latin-1")')
    await sabotage("privacy/redacted-telemetry", python=python, trips={"privacy/redacted-telemetry"})
