"""A secret in the environment, and an identity that may do too much."""

import pytest


async def test_a_secret_in_the_environment(sabotage) -> None:
    await sabotage("secrets/vault", env={"SEAWALL_SECRET_KEY": "k" * 43}, trips={"secrets/vault"})


@pytest.mark.prove
async def test_a_secret_in_the_source(sabotage) -> None:
    # the app writes what it has read from the vault into its own folder
    leaky = """
import pathlib
import seawall.secrets.master as module
real = module.VaultMaster.refresh
async def refresh(self):
    await real(self)
    pathlib.Path("settings_backup.txt").write_text(self.current()[1])
module.VaultMaster.refresh = refresh
"""
    await sabotage("secrets/vault", python=leaky, trips={"secrets/vault"})
