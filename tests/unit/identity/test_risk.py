"""Risk, by table: browsers, places, sign-ins, requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from seawall.core.errors import Refused
from seawall.core.master import FixedMaster
from seawall.core.scope import Trail
from seawall.identity.risk.assess import History, Origin, at_request, at_sign_in, weigh
from seawall.identity.risk.browser import Browser, browser_of, same_machine
from seawall.identity.risk.places import Place, Places
from seawall.settings import RiskSection
from seawall_check.probes import mmdb

SECTION = RiskSection()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOME = Place(b"\x04\x01" + b"h" * 14, "DE", 3320)
SAME_OPERATOR = Place(b"\x04\x01" + b"i" * 14, "DE", 3320)
ABROAD = Place(b"\x04\x01" + b"a" * 14, "BR", 28573)
KNOWN = History(devices=1, device_known=True, countries=frozenset({"DE"}), operators=frozenset({3320}))
BARE, BARE_OTHER = Place(b"\x04\x01" + b"b" * 14), Place(b"\x04\x01" + b"c" * 14)
BARE_OTHER_KEY = Place(b"\x04\x02" + b"c" * 14)
BARE_V6 = Place(b"\x06\x01" + b"b" * 14)


@pytest.mark.parametrize(
    ("agent", "family", "platform"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; x64) Chrome/156.0.0.0 Safari/537.36", "chrome", "windows"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0", "edge", "windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/26.0 Safari/605", "safari", "macos"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 26 like Mac OS X) AppleWebKit/605 CriOS/156 Safari/604", "chrome", "ios"),
        ("Mozilla/5.0 (iPad; CPU OS 26_0 like Mac OS X) AppleWebKit/605 Version/26.0 Safari/604.1", "safari", "ios"),
        ("Mozilla/5.0 (Linux; Android 15; K) Chrome/156.0.0.0 Mobile Safari/537.36", "chrome", "android"),
        ("Mozilla/5.0 (Linux; Android 15) SamsungBrowser/28.0 Chrome/130.0 Safari/537.36", "samsung", "android"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541) Chrome/156.0.0.0 Safari/537.36", "chrome", "chromeos"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0", "firefox", "linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/156.0.0.0 Safari/537.36 OPR/120.0", "opera", "windows"),
        ("curl/8.12", "", ""),
        ("", "", ""),
        ("x" * 100_000 + "Windows NT", "", ""),
        ("\N{SNOWMAN}" * 40, "", ""),
    ],
)  # fmt: skip
def test_families_and_platforms(agent: str, family: str, platform: str) -> None:
    assert browser_of(agent) == Browser(family, platform)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("windows", "windows", True),
        ("windows", "linux", False),
        ("windows", "macos", False),
        ("macos", "ios", True),  # a tablet that asks for desktop sites
        ("android", "linux", True),
        ("chromeos", "android", True),
        ("ios", "android", False),
        ("", "windows", True),
        ("windows", "", True),
        ("", "", True),
    ],
)
def test_what_one_machine_may_call_itself(one: str, other: str, same: bool) -> None:
    assert same_machine(one, other) is same
    assert same_machine(other, one) is same


@pytest.mark.parametrize(
    ("history", "place", "score", "reasons", "effect"),
    [
        (History(), HOME, 0, (), "none"),  # the first sign-in ever
        (KNOWN, HOME, 0, (), "none"),
        (History(devices=1), HOME, 30, ("new-device",), "notify"),
        (replace(KNOWN, operators=frozenset()), ABROAD, 40, ("country-changed",), "notify"),
        (History(devices=1, device_known=True, operators=frozenset({3320})), ABROAD, 15, ("operator-changed",), "none"),
        (
            History(devices=3, countries=frozenset({"DE"}), operators=frozenset({3320})), ABROAD, 85,
            ("country-changed", "new-device", "operator-changed"), "step-up",
        ),
        (History(devices=1, device_known=True, countries=frozenset({"DE", "BR"})), ABROAD, 0, (), "none"),
        (History(devices=1, device_known=True, countries=frozenset({"DE"})), BARE, 0, (), "none"),  # place unknown
        (History(devices=1, device_known=True, countries=frozenset({"DE"})), Place(), 0, (), "none"),
        (History(failures_account=4, failures_network=19), HOME, 0, (), "none"),
        (History(failures_account=5), HOME, 30, ("failures-account",), "notify"),
        (History(failures_network=20), HOME, 30, ("failures-network",), "notify"),
        (
            History(devices=1, failures_account=9, failures_network=99), HOME, 90,
            ("failures-account", "failures-network", "new-device"), "step-up",
        ),
    ],
)  # fmt: skip
def test_sign_ins(history: History, place: Place, score: int, reasons: tuple[str, ...], effect: str) -> None:
    found = at_sign_in(history, place, SECTION)
    assert (found.score, found.reasons, found.effect) == (score, reasons, effect)


def trail(place: Place = HOME, platform: str = "windows", **more: object) -> Trail:
    return Trail(Origin(platform, place).write(), **more)  # type: ignore[arg-type]


AWAY = {"away_network": ABROAD.network, "away_at": NOW - timedelta(seconds=30)}
LONG_AWAY = AWAY | {"away_at": NOW - timedelta(seconds=61)}
BARE_AWAY = {"away_network": BARE_OTHER.network, "away_at": NOW}


@pytest.mark.parametrize(
    ("session", "here", "score", "reasons", "effect"),
    [
        (trail(), Origin("windows", HOME), 0, (), "none"),
        (trail(), Origin("windows", SAME_OPERATOR), 0, (), "none"),
        (trail(), Origin("windows", ABROAD), 55, ("country-changed", "operator-changed"), "notify"),
        (trail(), Origin("linux", HOME), 60, ("platform-changed",), "step-up"),
        (trail(), Origin("", HOME), 0, (), "none"),
        (trail(platform=""), Origin("linux", HOME), 0, (), "none"),
        (trail(), Origin("windows", Place()), 0, (), "none"),
        (trail(Place()), Origin("windows", HOME), 0, (), "none"),
        (trail(BARE), Origin("windows", BARE_OTHER), 0, (), "none"),  # networks change all day
        (trail(**AWAY), Origin("windows", HOME), 30, ("two-networks",), "notify"),
        (trail(**LONG_AWAY), Origin("windows", HOME), 0, (), "none"),
        (trail(BARE, **BARE_AWAY), Origin("windows", BARE), 30, ("two-networks",), "notify"),
        (trail(BARE, **BARE_AWAY), Origin("windows", BARE_V6), 0, (), "none"),  # a browser with both versions
        (trail(BARE, **BARE_AWAY), Origin("windows", BARE_OTHER_KEY), 0, (), "none"),  # the key was rotated
        (
            trail(strayed=("country-changed", "operator-changed"), **AWAY), Origin("windows", HOME), 85,
            ("country-changed", "operator-changed", "two-networks"), "step-up",
        ),
        (trail(strayed=("no-such-reason",)), Origin("windows", HOME), 0, (), "none"),
    ],
)  # fmt: skip
def test_requests(session: Trail, here: Origin, score: int, reasons: tuple[str, ...], effect: str) -> None:
    found = at_request(session, here, NOW, SECTION)
    assert (found.score, found.reasons, found.effect) == (score, reasons, effect)


def test_weights_and_thresholds_are_settings() -> None:
    loud = RiskSection(new_device=100, notify_at=1, step_up_at=100)
    assert weigh({"new-device"}, loud).effect == "step-up"
    quiet = RiskSection(new_device=0, platform=10, notify_at=101, step_up_at=101)
    assert weigh({"new-device", "platform-changed"}, quiet).reasons == ("platform-changed",)
    assert weigh(set(RiskSection.model_fields), SECTION).score == 0
    everything = weigh(set(["new-device", "country-changed", "platform-changed", "two-networks"]), SECTION)
    assert (everything.score, everything.effect) == (100, "step-up")


@pytest.mark.parametrize("origin", [Origin("windows", HOME), Origin("", Place()), Origin("ios", BARE_V6)])
def test_an_origin_is_read_as_it_was_written(origin: Origin) -> None:
    assert Origin.read(origin.write()) == origin


# -- places ------------------------------------------------------------------------------------------------------------


def places(folder: Path, secret: str = "s", *, flat: bool = True) -> Places:  # noqa: S107 - no password
    countries = {"192.0.2.0/24": {"country_code": "DE"} if flat else {"country": {"iso_code": "DE"}}}
    country = mmdb.write(folder / "c.mmdb", countries | {"198.51.100.128/25": {"country_code": "no"}})
    asn = mmdb.write(folder / "a.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 3320}})
    return Places(RiskSection(country_database=country, asn_database=asn), FixedMaster(secret))


@pytest.mark.parametrize("flat", [True, False])
def test_countries_and_operators(tmp_path: Path, flat: bool) -> None:
    found = places(tmp_path, flat=flat).of("192.0.2.9")
    assert (found.country, found.asn) == ("DE", 3320)


@pytest.mark.parametrize("address", ["203.0.113.1", "198.51.100.200", "2001:db8::1", "127.0.0.1"])
def test_what_no_database_knows(tmp_path: Path, address: str) -> None:
    found = places(tmp_path).of(address)
    assert (found.country, found.asn) == (None, None)
    assert found.network is not None


@pytest.mark.parametrize("address", [None, "", "unix", "192.0.2", "testclient"])
def test_what_is_no_address(tmp_path: Path, address: str | None) -> None:
    assert places(tmp_path).of(address) == Place()


def test_networks_are_hashed_with_a_key_and_by_prefix(tmp_path: Path) -> None:
    one = places(tmp_path)
    assert one.of("192.0.2.9").network == one.of("192.0.2.200").network == one.of("::ffff:192.0.2.1").network
    assert one.of("2001:db8::1").network == one.of("2001:db8::ffff").network != one.of("2001:db8:1::1").network
    assert one.of("192.0.2.9").network != one.of("192.0.3.9").network
    assert one.of("192.0.2.9").network != places(tmp_path, "other").of("192.0.2.9").network


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 100])
def test_a_database_that_cannot_be_read_refuses_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refused, match="country_database"):
        Places(RiskSection(country_database=path), FixedMaster("s"))
