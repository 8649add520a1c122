"""A sabotage that replaces what is not there breaks nothing, and must say so itself."""

from tests.support.sabotages import replaced_in_vain

THERE = """
import seawall.identity.clients.dpop as module
from seawall.store.database import Database
import json
module.verify_proof = print
module.Nonces.give = lambda self, now_s: "0"
Database.admit = None
held = {}
"""


def test_what_is_there_can_be_replaced() -> None:
    assert replaced_in_vain("") == []
    assert replaced_in_vain(THERE) == []


def test_what_was_renamed_is_named() -> None:
    gone = THERE.replace("verify_proof", "check_proof").replace("Nonces.give", "Nonces.hand_out")
    assert replaced_in_vain(gone) == ["module.check_proof", "module.Nonces.hand_out"]
