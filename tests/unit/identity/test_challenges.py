"""Challenges: for one purpose, for a while, under a key that changes."""

from __future__ import annotations

from uuid import UUID

import pytest

from seawall.core.master import FixedMaster
from seawall.core.vault import VaultUnavailable
from seawall.identity.devices.challenges import LENGTH, Challenges, for_binding, for_refresh
from seawall.identity.devices.refusals import ProofRefused

SESSION, OTHER = UUID(int=1), UUID(int=2)
NOW = 1_795_000_000


class Rotating:
    """A master secret whose versions come and go."""

    def __init__(self) -> None:
        self.versions: dict[int, str | None] = {1: "one"}

    def current(self) -> tuple[int, str]:
        number = max(self.versions)
        return number, str(self.versions[number])

    def version(self, number: int) -> str | None:
        if number not in self.versions:
            raise VaultUnavailable()
        return self.versions[number]


def issued(challenges: Challenges, generation: int = 7) -> str:
    return challenges.issue(for_refresh(SESSION, "name"), generation, until_s=NOW)


def test_what_was_issued_is_known() -> None:
    challenges = Challenges(FixedMaster("k"))
    challenge = issued(challenges)
    assert len(challenge) == LENGTH == 64
    assert challenges.generation_of(challenge, for_refresh(SESSION, "name"), now_s=NOW) == 7


@pytest.mark.parametrize(
    "subject",
    [for_refresh(OTHER, "name"), for_refresh(SESSION, "nam"), for_refresh(SESSION, "named"), for_binding(SESSION)],
)
def test_it_is_for_one_purpose(subject: bytes) -> None:
    challenges = Challenges(FixedMaster("k"))
    with pytest.raises(ProofRefused, match="challenge-unknown"):
        challenges.generation_of(issued(challenges), subject, now_s=NOW)


def test_it_runs_out() -> None:
    challenges = Challenges(FixedMaster("k"))
    with pytest.raises(ProofRefused, match="challenge-over"):
        challenges.generation_of(issued(challenges), for_refresh(SESSION, "name"), now_s=NOW + 1)


@pytest.mark.parametrize("place", range(0, 64, 3))
def test_every_character_counts(place: int) -> None:
    challenges = Challenges(FixedMaster("k"))
    challenge = issued(challenges)
    altered = challenge[:place] + ("A" if challenge[place] != "A" else "B") + challenge[place + 1 :]
    with pytest.raises(ProofRefused):
        challenges.generation_of(altered, for_refresh(SESSION, "name"), now_s=NOW)


@pytest.mark.parametrize(
    "challenge", ["", "A" * 63, "A" * 64, "A" * 65, "=" * 64, "\N{SNOWMAN}" * 64, "!" * 64, "_" * 64]
)
def test_what_is_none(challenge: str) -> None:
    challenges = Challenges(Rotating())
    with pytest.raises(ProofRefused, match="challenge-unknown"):
        challenges.generation_of(challenge, for_refresh(SESSION, "name"), now_s=NOW)


def test_another_key_knows_nothing() -> None:
    with pytest.raises(ProofRefused):
        Challenges(FixedMaster("j")).generation_of(
            issued(Challenges(FixedMaster("k"))), for_refresh(SESSION, "name"), now_s=NOW
        )


def test_the_key_is_rotated_and_retired() -> None:
    master = Rotating()
    challenges = Challenges(master)
    before = issued(challenges)
    master.versions[2] = "two"
    after = issued(challenges)
    for challenge in (before, after):
        assert challenges.generation_of(challenge, for_refresh(SESSION, "name"), now_s=NOW) == 7
    master.versions[1] = None
    with pytest.raises(ProofRefused, match="challenge-unknown"):
        challenges.generation_of(before, for_refresh(SESSION, "name"), now_s=NOW)
    # a process that has not seen the new version asks for a challenge of its own; it does not break
    with pytest.raises(ProofRefused, match="challenge-unknown"):
        Challenges(Rotating()).generation_of(after, for_refresh(SESSION, "name"), now_s=NOW)
