"""Secrets that are written down by the way."""

import pytest

SHOWN = """
import seawall.web.redaction as module
import seawall.web.logs as logs
logs.value_of = lambda field, value: repr(value)
logs.argument_of = lambda value: value
logs.scrubbed = lambda text: text
import seawall.secrets.client as client
import seawall.core.vault as vault
import seawall.secrets.master as master
master.VaultMaster.__repr__ = lambda self: f"VaultMaster({self._secrets})"
"""


DUMPING = """
import resource
import seawall.secrets.heading as module
limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
module.forbid_core_dumps = lambda: resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
"""


@pytest.mark.prove
async def test_whole_objects_are_logged(sabotage) -> None:
    await sabotage("secrets/never-logged", python=SHOWN, trips={"secrets/never-logged", "privacy/redacted-telemetry"})


@pytest.mark.prove
async def test_core_files(sabotage) -> None:
    await sabotage("secrets/never-logged", python=DUMPING, trips={"secrets/never-logged"})
