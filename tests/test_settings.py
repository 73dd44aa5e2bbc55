"""Where a setting comes from, what it may be, and what is said when it is wrong."""

import json
import os
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abr import settings as abr_settings
from abr.exceptions import UsageError
from abr.settings import (
    FLAGS,
    REMEDIES,
    Settings,
    Thresholds,
    database_path,
    inbox_path,
    load_settings,
    local_time_zone,
    on_database,
    origins,
    result_settings,
    settings_rows,
    thresholds,
    today,
    unknown_environment,
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Run in a folder without abr.toml and without ABR_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("ABR_")]:
        monkeypatch.delenv(name)
    return tmp_path


def refused(flags=None):
    with pytest.raises(UsageError) as caught:
        load_settings(flags)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message + caught.value.remedy
    return caught.value.message, caught.value.remedy


def test_defaults():
    settings = load_settings()
    assert settings.database_url == "duckdb:///abr.duckdb"
    assert settings.interval_seconds == 5
    assert settings.threshold_amount == Thresholds(Decimal("1500.00"))
    assert settings.memory_limit is None
    assert database_path(settings) == Path("abr.duckdb")
    assert inbox_path(settings) == Path("abr.duckdb.inbox")
    assert set(origins(settings).values()) == {"default"}


def test_flag_beats_environment_beats_file_beats_default(monkeypatch):
    Path("abr.toml").write_text('database_url = "a.duckdb"\ninterval_seconds = 7\nmemory_limit = "4GB"\n')
    monkeypatch.setenv("ABR_DATABASE_URL", "b.duckdb")
    monkeypatch.setenv("ABR_INTERVAL_SECONDS", "8")
    settings = load_settings({"database_url": "c.duckdb", "interval_seconds": None})
    assert settings.database_url == "duckdb:///c.duckdb"
    assert settings.interval_seconds == 8
    assert settings.memory_limit == "4GB"
    assert origins(settings) == {
        "database_url": "flag --database",
        "interval_seconds": "environment ABR_INTERVAL_SECONDS",
        "threshold_amount": "default",
        "time_zone": "default",
        "memory_limit": "abr.toml",
        "inbox": "default",
        "published_group": "default",
        "mirror_url": "default",
    }
    assert {row["setting"]: row["origin"] for row in settings_rows(settings)} == origins(settings)


def test_every_setting_has_a_remedy_and_a_row():
    names = set(Settings.model_fields)
    assert set(FLAGS) < names
    assert names == set(REMEDIES) == {row["setting"] for row in settings_rows(load_settings())}


def test_an_empty_variable_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv("ABR_THRESHOLD_AMOUNT", "")
    settings = load_settings()
    assert str(settings.threshold_amount) == "1500.00"
    assert origins(settings)["threshold_amount"] == "default"


def test_a_misspelt_variable_is_noticed(monkeypatch):
    monkeypatch.setenv("ABR_TRESHOLD_AMOUNT", "1")
    monkeypatch.setenv("ABR_TIME_ZONE", "UTC")
    assert unknown_environment() == ["ABR_TRESHOLD_AMOUNT"]


def test_thresholds_are_exact_and_per_currency(monkeypatch):
    monkeypatch.setenv("ABR_THRESHOLD_AMOUNT", " 1500.10 , JPY=220000, KWD = 500.1250 ")
    threshold = load_settings().threshold_amount
    assert threshold == Thresholds(Decimal("1500.10"), {"JPY": Decimal(220000), "KWD": Decimal("500.125")})
    assert (threshold.of("JPY"), threshold.of("EUR"), threshold.of(None)) == (
        220000,
        Decimal("1500.10"),
        threshold.of(""),
    )
    assert str(threshold) == "1500.10,JPY=220000,KWD=500.125"


def test_a_number_in_the_file_never_becomes_a_float():
    Path("abr.toml").write_text("threshold_amount = 1234567890123.4567\n")
    assert load_settings().threshold_amount.default_amount == Decimal("1234567890123.4567")


@pytest.mark.parametrize(
    ("one", "other"),
    [("1500", "1500.00"), ("1500.", "1500.0000"), ("1,JPY=5.0,EUR=2", "1.000,EUR=2.0,JPY=5"), ("-0", "0")],
)
def test_thresholds_that_mean_the_same_are_stored_the_same(one, other):
    assert str(thresholds(one)) == str(thresholds(other))


@settings(deadline=None)
@given(
    st.decimals(0, 10**13, places=4),
    st.dictionaries(st.from_regex("[A-Z]{3}", fullmatch=True), st.decimals(0, 10**9, places=4)),
)
def test_thresholds_survive_being_written_and_read(default, named):
    value = Thresholds(default, named)
    assert thresholds(str(value)) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has '' where an amount belongs"),
        ("1,5", "has '5' where a currency and its amount belong"),
        ("1e3", "has '1e3' where an amount belongs"),
        ("NaN", "has 'NaN' where an amount belongs"),
        ("١٢", "has '١٢' where an amount belongs"),
        ("-1", "is negative"),
        ("1.00001", "has more than 4 decimals"),
        ("100000000000000", "is too large"),
        ("1,jpy=2", "has 'jpy=2' where a currency and its amount belong"),
        ("1,JPY=2,JPY=2", "names JPY twice"),
        ("1,JPY=", "has '' where an amount belongs"),
        ("JPY=2", "has 'JPY=2' where an amount belongs"),
    ],
)
def test_a_wrong_threshold_is_refused_with_the_reason(text, problem):
    message, remedy = refused({"threshold_amount": text})
    assert message == f"threshold_amount {text!r} (flag --threshold) {problem}"
    assert remedy == "give amounts such as 1500.00 or 1500.00,JPY=220000"


@pytest.mark.parametrize("text", ["0", "-5", "nan", "inf", "five", "86401", ""])
def test_a_wrong_interval_is_refused(text):
    message, _ = refused({"interval_seconds": text})
    assert message.startswith(f"interval_seconds {text!r} (flag --interval) is not ")


def test_true_is_not_a_number_of_seconds():
    Path("abr.toml").write_text("interval_seconds = true\n")
    message, _ = refused()
    assert message == "interval_seconds 'True' (abr.toml) is not a number of seconds"


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", "localtime", "/etc/passwd", "../zoneinfo/UTC", "Europe", "tzdata.zi", "a\0b"]
)
def test_a_wrong_time_zone_is_refused(name):
    Path("abr.toml").write_text(f"time_zone = {json.dumps(name)}\n")
    message, remedy = refused()
    assert message == f"time_zone {name!r} (abr.toml) is not a time zone"
    assert "Europe/Berlin" in remedy


@pytest.mark.parametrize("text", ["4", "GB", "0GB", "-1GB", "80%", "4 potatoes"])
def test_a_wrong_memory_limit_is_refused(text):
    Path("abr.toml").write_text(f"memory_limit = {json.dumps(text)}\n")
    message, _ = refused()
    assert message == f"memory_limit {text!r} (abr.toml) is not a size"


@pytest.mark.parametrize(
    ("name", "words"),
    [("a?1.duckdb", "a question mark"), ("~nobody-here/a.duckdb", "somebody who is not known")],
)
def test_a_file_that_could_not_be_the_one_named_is_refused(name, words):
    message, remedy = refused({"database_url": name})
    assert words in message
    assert "abr.duckdb" in remedy


@pytest.mark.parametrize("url", ["postgresql://host/books", "duckdb://", "duckdb:///", "", " ", "sqlite:///a.db"])
def test_a_database_that_is_not_a_duckdb_file_is_refused(url):
    message, remedy = refused({"database_url": url})
    assert message.startswith(f"database_url {url!r} (flag --database) ")
    assert "abr.duckdb" in remedy


def test_a_wrong_variable_names_the_variable(monkeypatch):
    monkeypatch.setenv("ABR_INTERVAL_SECONDS", "soon")
    message, remedy = refused()
    assert message == "interval_seconds 'soon' (environment ABR_INTERVAL_SECONDS) is not a number of seconds"
    assert remedy == "give seconds between two cycles, such as 5"


def test_an_unknown_key_in_the_file_is_refused_with_a_suggestion():
    Path("abr.toml").write_text("treshold_amount = 5\n")
    assert refused() == ("treshold_amount in abr.toml is not a setting", "did you mean threshold_amount?")
    Path("abr.toml").write_text("[colours]\nred = 1\n")
    message, remedy = refused()
    assert message == "colours in abr.toml is not a setting"
    assert "database_url, interval_seconds" in remedy


@pytest.mark.parametrize("content", [b"interval_seconds = \n", b"\xff\xfe", b"= 5"])
def test_a_file_that_cannot_be_read_is_refused(content):
    Path("abr.toml").write_bytes(content)
    message, _ = refused()
    assert message.startswith("abr.toml ")


def test_a_folder_called_abr_toml_is_refused():
    Path("abr.toml").mkdir()
    message, _ = refused()
    assert message.startswith("abr.toml cannot be read: ")


@pytest.mark.parametrize(
    ("given", "url", "path"),
    [
        ("firm.duckdb", "duckdb:///firm.duckdb", Path("firm.duckdb")),
        ("/books/firm.duckdb", "duckdb:////books/firm.duckdb", Path("/books/firm.duckdb")),
        ("duckdb:////books/firm.duckdb?x=1", "duckdb:////books/firm.duckdb?x=1", Path("/books/firm.duckdb")),
        ("duckdb:///:memory:", "duckdb:///:memory:", None),
    ],
)
def test_a_database_is_a_file_or_a_url(given, url, path):
    settings = load_settings({"database_url": given})
    assert settings.database_url == url
    assert database_path(settings) == path
    assert inbox_path(settings) == (path and path.with_name("firm.duckdb.inbox"))


def test_the_inbox_can_be_anywhere():
    assert inbox_path(load_settings({"inbox": "drop"})) == Path("drop")


def test_the_demo_is_the_same_settings_on_another_database():
    settings = load_settings({"interval_seconds": 1})
    demo = on_database(settings, "abr-demo.duckdb", "default (demo)")
    assert demo.database_url == "duckdb:///abr-demo.duckdb"
    assert demo.interval_seconds == 1
    assert origins(demo)["database_url"] == "default (demo)"
    assert origins(demo)["interval_seconds"] == "flag --interval"
    assert origins(settings)["database_url"] == "default"


def test_only_what_changes_results_is_stored_with_a_run():
    settings = load_settings(
        {"threshold_amount": "1500,JPY=220000.0", "time_zone": "Asia/Tokyo", "interval_seconds": 1}
    )
    assert result_settings(settings) == {"threshold_amount": "1500.00,JPY=220000", "time_zone": "Asia/Tokyo"}


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().interval_seconds = 1


def test_today_is_the_date_in_the_configured_time_zone():
    tokyo = load_settings({"time_zone": "Asia/Tokyo"})
    evening = datetime(2026, 1, 5, 16, 0, tzinfo=UTC)
    assert today(tokyo, evening) == date(2026, 1, 6)
    assert today(tokyo, evening.replace(tzinfo=None)) == date(2026, 1, 6)
    assert today(tokyo, evening.astimezone(timezone(timedelta(hours=-8)))) == date(2026, 1, 6)
    assert today(load_settings({"time_zone": "UTC"}), evening) == date(2026, 1, 5)


@pytest.mark.parametrize(
    ("variable", "zone"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        (":Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/posix/Europe/Berlin", "Europe/Berlin"),
        ("Etc/UTC", "UTC"),
    ],
)
def test_the_machine_says_which_time_zone_it_is_in(monkeypatch, variable, zone):
    monkeypatch.setenv("TZ", variable)
    assert local_time_zone() == zone


def test_a_machine_that_does_not_say_is_in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "nonsense")
    monkeypatch.setattr(abr_settings, "Path", lambda _: Path("nowhere"))
    assert local_time_zone() == "UTC"
