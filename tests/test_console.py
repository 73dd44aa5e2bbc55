# ruff: noqa: RUF001  dashes, full-width signs and the like are what is tested
"""What people see: safe cells, exact figures, tables that fit, the screen at every size, lines, csv and json."""

import csv
import io
import json
import re
import sys
import unicodedata
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from abr import console
from abr.console import Column, Section, Snapshot, Step
from abr.exceptions import DatabaseBusy, DataIntegrityError, UsageError

DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
RUN = {
    "run_id": 412,
    "as_of": date(2026, 1, 5),
    "started_at": datetime(2026, 1, 5, 9, 30, 5),
    "finished_at": datetime(2026, 1, 5, 9, 30, 5, 61_000),
    "status": "ok",
    "error": None,
    "duration_ms": 61,
    "logs_received": 1_204,
    "logs_eligible": 1_187,
    "logs_quarantined": 17,
    "logs_excluded": 0,
    "logs_out_of_term": 0,
    "findings_opened": 3,
    "findings_changed": 1,
    "findings_closed": 0,
    "rules_digest": "0f",
    "settings": "{}",
}
QUIET_RUN = {**RUN, "run_id": 413, "findings_opened": 0, "findings_changed": 0, "findings_closed": 0}
HALTED_RUN = {**RUN, "status": "halted", "error": "inbox is missing", "finished_at": None, "duration_ms": None}
NASTY = "[red]evil[/red]\x1b[2J\x9b31m\u202e\u200b\r\n"
RATES = {"EUR": 1, "USD": 1, "JPY": 150, "KWD": 1}


def position(contract_id, currency="EUR", leakage="0", **others):
    leakage, threshold = Decimal(leakage).quantize(Decimal("0.0001")), Decimal(1500) * RATES.get(currency, 1)
    severity = "critical" if leakage > threshold else "watch" if leakage and leakage * 2 >= threshold else "ok"
    zero = Decimal("0.0000")
    row = {
        "contract_id": contract_id,
        "client": f"Client of {contract_id}",
        "currency": currency,
        "billing_model": "time_and_materials",
        "expected_amount": leakage,
        "billed_amount": zero,
        "leakage_amount": leakage,
        "written_off_amount": zero,
        "overbilled_amount": zero,
        "exposure_amount": zero,
        "pending_amount": zero,
        "noise_amount": zero,
        "other_billed_amount": zero,
        "unbilled_hours": leakage / 100,
        "quarantined_hours": zero,
        "quarantined_line_count": 0,
        "threshold_amount": threshold,
        "is_flagged": severity == "critical",
        "severity": severity,
        "oldest_leakage_on": date(2025, 12, 1) if leakage else None,
        "age_days": 35 if leakage else None,
        "age_bucket": "31-60" if leakage else None,
        "as_of": date(2026, 1, 5),
        "run_id": 412,
    }
    return {**row, **others}


def overrun(contract_id, seconds, amount, currency="EUR"):
    amount = None if amount is None else Decimal(amount)
    row = {"contract_id": contract_id, "client": "Globex", "currency": currency, "seconds": seconds, "amount": amount}
    return {**row, "class": "fixed_price_overrun", "side": "exposure"}


def totals_of(positions):
    """Return the sums of these positions by currency, as the command asks the database for them."""
    totals = {}
    for row in positions:
        total = totals.setdefault(row["currency"], Counter(contract_count=0, flagged_count=0, watch_count=0))
        total["contract_count"] += 1
        total["flagged_count"] += row["severity"] == "critical"
        total["watch_count"] += row["severity"] == "watch"
        for column in console.TOTAL_COLUMNS:
            if column.kind in {"money", "hours"}:
                total[column.name] += row[column.name] or 0
    return [{"currency": currency, **totals[currency]} for currency in sorted(totals)]


def snapshot(positions=(), **others):
    given = {"run": RUN, "decimals": DECIMALS, "source": "simulator, demo data", "positions": positions}
    return Snapshot(**given | {"totals": totals_of(positions)} | others)


def full(count=40, currencies=("EUR", "JPY", "USD"), client="Vandelay Industries GmbH & Co. KG"):
    """Return a snapshot with something in every part of the screen."""
    positions = [
        position(
            f"C-{index:03d}",
            currencies[index % len(currencies)],
            index * 137 * RATES[currencies[index % len(currencies)]],
            client=client,
            overbilled_amount=Decimal(250),
            exposure_amount=Decimal(300),
            quarantined_hours=Decimal("4.50"),
        )
        for index in range(count)
    ]
    changes = [
        {
            "change": "opened",
            "contract_id": f"C-{index:03d}",
            "class": "unbilled",
            "amount": Decimal(index),
            "currency": "EUR",
        }
        for index in range(30)
    ]
    return snapshot(
        positions,
        overruns=[overrun(f"F-{index:03d}", 5_400 * index, 100 * index) for index in range(12)],
        quarantine_reasons={f"reason_number_{index}": 100 - index for index in range(20)},
        quarantined_rows=117,
        quarantined_hours=Decimal("342.25"),
        changes=changes,
        changed_run=RUN,
        next_run_in_seconds=3.7,
    )


def rendered(renderable, width=80, **options):
    """Return the lines a terminal of that width gets, without the padding on the right."""
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False, emoji=False, _environ={}, **options).print(
        renderable
    )
    return file.getvalue().splitlines()


def shown(renderable, width=80):
    return [text.rstrip() for text in rendered(renderable, width)]


def is_safe(text):
    return not any(unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"} for character in text)


# ---- cells --------------------------------------------------------------------------------------------------------


def test_a_cell_cannot_steer_the_terminal():
    assert console.safe(NASTY) == r"[red]evil[/red]\x1b[2J\x9b31m\u202e\u200b\r\n"


def test_every_invisible_or_steering_character_is_made_visible():
    # Arabic and Kaithi number signs are in Cf and are visible; so they may pass.
    visible = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x890, 0x891, 0x8E2}
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and code not in visible:
            assert console.safe(chr(code)).isascii(), hex(code)


@settings(deadline=None)
@given(st.text(st.characters(), max_size=300))
def test_whatever_a_cell_holds_it_is_shown_on_one_line_as_it_is_or_escaped(text):
    visible = console.safe(text, 1_000)
    assert is_safe(visible)
    assert console.safe(visible, 10_000) == visible
    plain = "".join(character for character in text if character.isascii() and character.isprintable())
    assert len(visible) >= len(plain)


def test_ten_megabytes_are_cut():
    assert console.safe("x" * 10_000_000) == "x" * 200 + "…"
    assert len(console.safe("\x1b" * 10_000_000)) == 801


def test_emoji_and_accents_are_left_alone():
    assert console.safe("Müller 日本 🚀 e\u0301") == "Müller 日本 🚀 e\u0301"
    assert console.safe("❤\ufe0f") == "❤"


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("2400.0000", "EUR", "2,400.00"),
        ("-12.5000", "USD", "-12.50"),
        ("1234567.0000", "JPY", "1,234,567"),
        ("10.5000", "KWD", "10.500"),
        ("-0.0000", "EUR", "0.00"),
        ("0E-4", "JPY", "0"),
        ("12.3450", "EUR", "12.345"),
        ("99999999999999.9999", "XXX", "99,999,999,999,999.9999"),
        ("5", None, "5.00"),
        (None, "EUR", "unknown"),
    ],
)
def test_money_has_its_currencys_decimals_and_is_never_rounded(amount, currency, text):
    assert console.money(None if amount is None else Decimal(amount), currency, DECIMALS) == text


def test_money_refuses_a_float():
    with pytest.raises(TypeError, match="never a float"):
        console.money(1.5, "EUR", DECIMALS)


@settings(deadline=None)
@given(st.decimals(-(10**14), 10**14, places=4), st.sampled_from(["EUR", "JPY", "KWD", "???"]))
def test_money_reads_back_as_the_same_amount(amount, currency):
    assert Decimal(console.money(amount, currency, DECIMALS).replace(",", "")) == amount


def test_hours_never_look_like_nothing_when_they_are_something():
    assert [console.hours(Decimal(text)) for text in ("0.0000", "0.0010", "0.0050", "1234.5", "-0.0000")] == [
        "0.00",
        "<0.01",
        "0.01",
        "1,234.50",
        "0.00",
    ]


def test_times_are_utc_to_the_second():
    nine = datetime(2026, 1, 5, 9, 30, 5, 61_000)
    assert console.moment(nine) == "2026-01-05 09:30:05Z"
    assert console.moment(nine.replace(tzinfo=timezone(timedelta(hours=1)))) == "2026-01-05 08:30:05Z"
    assert console.moment(None) == "–"
    assert [console.milliseconds(value) for value in (61, 9_999, 12_345, None)] == ["61 ms", "9,999 ms", "12.3 s", "–"]


# ---- tables -------------------------------------------------------------------------------------------------------

COLUMNS = (Column("client", "Client"), Column("amount", "Amount", "money"), Column("logs", "Logs", "count", leave=1))


def test_one_currency_is_named_once_in_the_header():
    rows = [
        {"client": "Acme Corp", "amount": Decimal("2400.0000"), "logs": 1_200, "currency": "USD"},
        {"client": None, "amount": None, "logs": 6, "currency": "USD"},
    ]
    assert shown(console.rows_table(rows, COLUMNS, decimals=DECIMALS, total_count=40, rest="--all for the rest")) == [
        "Client     Amount USD   Logs",
        "────────────────────────────",
        "Acme Corp    2,400.00  1,200",
        "–                   –      6",
        "showing 2 of 40; --all for the rest",
    ]


def test_several_currencies_stand_in_a_column_and_decimal_points_below_one_another():
    rows = [
        {"client": "Acme", "amount": Decimal(2400), "logs": 1, "currency": "EUR"},
        {"client": "Globex", "amount": Decimal(220000), "logs": 2, "currency": "JPY"},
        {"client": "Initech", "amount": Decimal("-1.5"), "logs": 3, "currency": "KWD"},
    ]
    assert shown(console.rows_table(rows, COLUMNS, decimals=DECIMALS)) == [
        "Client   Cur.       Amount  Logs",
        "────────────────────────────────",
        "Acme     EUR     2,400.00      1",
        "Globex   JPY   220,000         2",
        "Initech  KWD        -1.500     3",
    ]


def test_where_there_is_no_room_columns_go_and_figures_stay_whole():
    rows = [{"client": "A very long name of a client", "amount": Decimal("1234567.89"), "logs": 1, "currency": "EUR"}]
    assert shown(console.rows_table(rows, COLUMNS, decimals=DECIMALS), 26) == [
        "Client          Amount EUR",
        "──────────────────────────",
        "A very long…  1,234,567.89",
        "no room for Logs; widen",
        "the terminal or take",
        "--format csv",
    ]


def test_no_rows_say_so():
    assert shown(console.rows_table([], COLUMNS, empty="no findings")) == ["no findings"]


def test_a_nasty_cell_is_text_in_every_table():
    rows = [{"client": NASTY, "amount": Decimal(1), "logs": 1, "currency": NASTY}]
    text = "\n".join(shown(console.rows_table(rows, COLUMNS, decimals=DECIMALS), 200))
    assert r"[red]evil[/red]\x1b[2J\x9b31m" in text
    assert is_safe(text.replace("\n", ""))


TEXTS = st.one_of(st.none(), st.text(st.characters(), max_size=60))
AMOUNTS = st.one_of(st.none(), st.decimals(-(10**14), 10**14, places=4))
ROWS = st.lists(
    st.fixed_dictionaries({"client": TEXTS, "amount": AMOUNTS, "logs": st.integers(0, 10**9), "currency": TEXTS}),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 130))
def test_a_table_of_anything_fits_any_width(rows, width):
    for text in rendered(console.rows_table(rows, COLUMNS, decimals=DECIMALS), width):
        assert cell_len(text) <= width
        assert is_safe(text)


# ---- json and csv -------------------------------------------------------------------------------------------------

RECORD = {
    "id": 7,
    "amount": Decimal("0E-4"),
    "on": date(2026, 1, 5),
    "at": datetime(2026, 1, 5, 9, 30, 5, 61_000),
    "zoned": datetime(2026, 1, 5, 9, 30, 5, tzinfo=UTC),
    "ok": True,
    "none": None,
    "text": "Müller",
}


def test_json_has_decimals_as_strings_and_dates_as_iso():
    assert json.loads(console.json_text([RECORD], one=True)) == {
        "id": 7,
        "amount": "0.0000",
        "on": "2026-01-05",
        "at": "2026-01-05T09:30:05.061000Z",
        "zoned": "2026-01-05T09:30:05Z",
        "ok": True,
        "none": None,
        "text": "Müller",
    }
    assert console.json_text([]) == "[]"
    assert console.json_text([{"a": 1}, {"a": Decimal("2.50")}]) == '[\n  {"a": 1},\n  {"a": "2.50"}\n]'


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.text(st.characters())), max_size=4), max_size=4
    )
)
def test_json_of_any_text_reads_back_and_steers_nothing(rows):
    text = console.json_text(rows)
    assert json.loads(text) == rows
    assert is_safe(text.replace("\n", ""))


def test_csv_is_read_as_it_was_written():
    text = console.csv_text([RECORD], list(RECORD))
    assert text == (
        "id,amount,on,at,zoned,ok,none,text\n"
        "7,0.0000,2026-01-05,2026-01-05T09:30:05.061000Z,2026-01-05T09:30:05Z,true,,Müller\n"
    )
    assert console.csv_text([], ["a", "b"]) == "a,b\n"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30 1", "'+49 30 1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("-12.50", "-12.50"),
        ("+7", "+7"),
        ("-", "'-"),
        ("a=b", "a=b"),
        ('say "hi", then go', 'say "hi", then go'),
        ("two\nlines", r"two\nlines"),
        ("\x1b[2J", r"\x1b[2J"),
    ],
)
def test_csv_is_safe_to_open_in_a_spreadsheet_and_in_a_terminal(cell, written):
    text = console.csv_text([{"a": cell}], ["a"])
    assert list(csv.reader(io.StringIO(text)))[1] == [written]
    assert is_safe(text.replace("\n", ""))


def test_negative_amounts_stay_numbers_in_csv():
    assert console.csv_text([{"a": Decimal("-12.5000"), "b": -3}], ["a", "b"]) == "a,b\n-12.5000,-3\n"


# ---- views --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "classes", "step"),
    [
        ({}, (), "–"),
        ({"leakage_amount": Decimal(1)}, ("unbilled",), "invoice"),
        ({"leakage_amount": Decimal(1)}, (), "invoice"),
        ({"leakage_amount": Decimal(1)}, ("void_not_rebilled",), "re-issue"),
        ({"leakage_amount": Decimal(1)}, ("void_not_rebilled", "rate_under"), "re-issue, invoice"),
        (
            {"leakage_amount": Decimal(1), "overbilled_amount": Decimal(1)},
            ("late_entry", "rate_over"),
            "invoice, credit",
        ),
        ({"leakage_amount": Decimal(1), "quarantined_line_count": 1}, ("unbilled",), "ask, invoice"),
        ({"overbilled_amount": Decimal(1)}, ("hours_over",), "credit"),
        ({"exposure_amount": Decimal(1)}, ("unapproved",), "ask"),
        ({"quarantined_hours": Decimal(1)}, (), "ask"),
        ({"pending_amount": Decimal(1)}, (), "–"),
        ({}, ("out_of_term",), "ask"),
        ({}, ("currency_mismatch",), "credit"),
    ],
)
def test_every_position_has_a_next_step(fields, classes, step):
    assert console.next_step(position("C-1", **fields), classes) == step


def test_flagged_come_first_then_watch_each_by_how_often_the_threshold_is_exceeded():
    positions = [
        position("C-1", "EUR", 10),
        position("C-2", "EUR", 1500),
        position("C-3", "JPY", 230_000),
        position("C-4", "EUR", 9_000),
        position("C-5", "EUR", 1, threshold_amount=Decimal(0), severity="critical"),
    ]
    assert [row["contract_id"] for row in console.flagged_first(positions)] == ["C-5", "C-4", "C-3", "C-2", "C-1"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 15), (40, 10), (50, 5), (80, 4)])
def test_no_warning_disappears_from_a_small_screen(width, height):
    warned = replace(full(), rejected_files=("a.csv", "b.csv"))
    shown_lines = shown(console.screen(warned, width=width, height=height), width)
    assert len(shown_lines) <= height
    text = " ".join(shown_lines)
    for word in ("QUARANTINE", "INBOX", "PROFITABILITY"):
        assert word[:8] in text, shown_lines


def test_the_report_names_the_worst_first_and_its_next_step():
    positions = [position("C-1", leakage=800), position("C-2", leakage="2400.5", overbilled_amount=Decimal(10))]
    assert shown(console.report(positions, decimals=DECIMALS, totals=totals_of(positions), total_count=9), 80) == [
        "Severity  Client         Contract  Leakage EUR  Unbilled h  Days  Next step",
        "────────────────────────────────────────────────────────────────────────────────",
        "critical  Client of C-2  C-2          2,400.50       24.01    35  invoice,",
        "                                                                  credit",
        "watch     Client of C-1  C-1            800.00        8.00    35  invoice",
        "no room for Over-billed, Exposure, Pending, Quarantined h, Threshold; widen the",
        "terminal or take --format csv",
        "showing 2 of 9; abr report --all for the rest",
        "",
        "Totals of all 9 contracts",
        "Currency   Leakage  Over-billed  Exposure  Pending  Unbilled h  Quarantined h",
        "─────────────────────────────────────────────────────────────────────────────",
        "EUR       3,200.50        10.00      0.00     0.00       32.01           0.00",
    ]


def test_flagged_is_red_and_watch_is_yellow_and_both_are_words():
    positions = [position("C-1", leakage=2_000), position("C-2", leakage=800)]
    text = "\n".join(
        rendered(
            console.report(positions, decimals=DECIMALS, totals=totals_of(positions)),
            100,
            force_terminal=True,
            color_system="standard",
        )
    )
    assert re.search(r"\x1b\[31mcritical", text)
    assert re.search(r"\x1b\[33mwatch", text)


def test_no_color_is_obeyed(monkeypatch):
    file = io.StringIO()
    Console(file=file, width=100, force_terminal=True, _environ={"NO_COLOR": "1"}).print(
        console.report([position("C-1", leakage=2_000)], decimals=DECIMALS, totals=())
    )
    assert "critical" in file.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", file.getvalue())


FINDING = {
    "finding_id": "00ff00ff00ff00ff",
    "contract_id": "C-1",
    "client": "Acme",
    "currency": "EUR",
    "side": "exposure",
    "class": "unapproved",
    "about": "log:T-1",
    "time_log_id": "T-1",
    "project_id": "P-1",
    "person": "anna",
    "role": None,
    "task": None,
    "worked_on": date(2026, 1, 2),
    "seconds": 5_400,
    "hourly_rate": None,
    "expected_amount": None,
    "billed_amount": None,
    "amount": None,
    "invoice_ids": None,
    "opened_run_id": 3,
    "opened_at": datetime(2026, 1, 2),
}


def test_an_estimate_nobody_can_make_is_unknown():
    text = shown(console.findings_table([FINDING], decimals=DECIMALS), 200)
    assert re.search(r"unapproved +unknown +1\.50 +2026-01-02", text[2])


def test_findings_with_versions_are_history():
    moments = {
        "valid_from_at": datetime(2026, 1, 2),
        "valid_to_at": None,
        "valid_from_run_id": 3,
        "valid_to_run_id": None,
    }
    row = {**FINDING, "version": 1, "state": "open", **moments}
    assert shown(console.findings_table([row], decimals=DECIMALS), 200)[0].startswith(
        "Finding           Version  State"
    )


@pytest.mark.parametrize(("width", "height"), [(40, 24), (80, 24), (170, 45)])
def test_files_the_inbox_has_rejected_stay_on_the_screen(width, height):
    files = ["time_logs.csv", "invoices.csv"]
    told = "INBOX  2 files rejected, see rejected/"
    screen = replace(full(), rejected_files=files)
    assert told in "\n".join(shown(console.screen(screen, width=width, height=height), width))
    assert "INBOX" not in "\n".join(shown(console.screen(full(), width=width, height=height), width))
    quiet = snapshot()
    assert "INBOX" in "\n".join(shown(console.lines(replace(quiet, rejected_files=files), quiet), 120))


def test_every_reason_of_a_quarantined_row_is_shown():
    reasons = "missing_date,missing_duration,missing_person,missing_project,unparseable_value"
    row = {
        "quarantine_id": "q1",
        "entity": "time_logs",
        "key": "T-1",
        "contract_id": None,
        "client": None,
        "reasons": reasons,
        "detail": "worked_on: 2026-02-30",
        "source": "canonical",
        "raw": "{}",
        "seconds": 5_400,
        "state": "open",
        "opened_run_id": 2,
        "opened_at": datetime(2026, 1, 1),
    }
    text = shown(console.quarantine_table([row], seconds_at_risk=5_400), 80)
    assert text[0] == "⚠ QUARANTINE  1 row, 1.50 h at risk"
    assert all(reason in "\n".join(text) for reason in reasons.split(","))
    assert shown(console.quarantine_table([])) == ["quarantine is empty"]


def test_the_error_of_a_halted_run_is_shown_and_takes_no_room_otherwise():
    assert "Error" not in shown(console.history_table([RUN]), 160)[0]
    text = "\n".join(shown(console.history_table([RUN, HALTED_RUN]), 160))
    assert "inbox is missing" in text
    assert shown(console.history_table([])) == ["no run yet"]


def test_a_load_says_what_it_did():
    counts = {"read": 1_250, "new": 1_200, "superseded": 3, "unchanged": 40, "withdrawn": 0, "quarantined": 7}
    assert shown(console.load_summary([{"data_set": "time_logs", **counts}])) == [
        "Data set    Read    New  Superseded  Unchanged  Withdrawn  Quarantined",
        "──────────────────────────────────────────────────────────────────────",
        "time_logs  1,250  1,200           3         40          0            7",
    ]


def test_verify_names_each_row_that_differs():
    row = {"what": "audit.finding", "id": "00ff", "detail": "180.0000 is stored, 90.0000 recomputed"}
    assert shown(console.verify_differences([row]))[2] == "audit.finding  00ff   180.0000 is stored, 90.0000 recomputed"
    assert shown(console.verify_differences([])) == ["everything stored equals what is recomputed"]


def test_an_explanation_can_be_redone_on_paper():
    sections = [
        Section("Log T-1 on C-1 [Acme]", note="2026-01-02, anna"),
        Section(
            "What the contract owes",
            [
                Step("Rounding", "5,390 s up to the next 15 min", "5,400 s"),
                Step("Price", "5,400 × 120.00 × (100 − 0) / 360,000", "180.00 EUR"),
            ],
        ),
    ]
    assert shown(console.explanation(sections), 60) == [
        "Log T-1 on C-1 [Acme]",
        "2026-01-02, anna",
        "",
        "What the contract owes",
        "  Rounding  5,390 s up to the next 15 min            5,400 s",
        "  Price     5,400 × 120.00 × (100 − 0) / 360,000  180.00 EUR",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_long_explanation_wraps_within_its_column(width):
    steps = [Step("A label of some length", "a formula of many words " * 12, "1,234,567.89 EUR")]
    for text in rendered(console.explanation([Section("T", steps)]), width):
        assert cell_len(text) <= width


def test_settings_are_shown_with_their_origin():
    rows = [{"setting": "memory_limit", "value": None, "origin": "default"}]
    assert shown(console.settings_table(rows))[2] == "memory_limit  –      default"


# ---- the monitor --------------------------------------------------------------------------------------------------


def test_a_cycle_is_one_line_that_balances():
    quiet = snapshot([position("C-1", leakage=2_000), position("C-2", leakage=800)], run=QUIET_RUN)
    assert console.line(quiet) == (
        "run 413  2026-01-05 09:30:05Z  1,204 logs = 1,187 priced + 17 quarantined  no change  "
        "1 flagged, 1 watch, 2 contracts  61 ms"
    )
    everything = {**RUN, "logs_received": 1_251, "logs_excluded": 40, "logs_out_of_term": 7, "findings_closed": 2}
    assert console.line(snapshot(run=everything)) == (
        "run 412  2026-01-05 09:30:05Z  1,251 logs = 1,187 priced + 17 quarantined + 40 excluded + 7 out of term  "
        "3 opened, 1 changed, 2 closed  0 flagged, 0 watch, 0 contracts  61 ms"
    )


def test_a_halted_run_says_why_on_its_line():
    assert console.line(snapshot(run=HALTED_RUN)) == "run 412  2026-01-05 09:30:05Z  halted  inbox is missing"


def test_a_table_follows_the_line_only_when_something_changed():
    before = snapshot(
        [position("C-1", leakage="2000")],
        overruns=[overrun("F-1", 45_000, 1_250)],
        quarantine_reasons={"no_rate": 5, "missing_project": 12},
        quarantined_rows=16,
        quarantined_hours=Decimal("42.25"),
    )
    text = shown(console.lines(before), 160)
    columns = "Severity  Client         Contract  Leakage EUR  Unbilled h  Days  Over-billed  Exposure  Quarantined h"
    figures = "critical  Client of C-1  C-1          2,000.00       20.00    35         0.00      0.00           0.00"
    assert text == [
        console.line(before),
        "",
        columns + "  Pending  Threshold",
        "─" * 122,
        figures + "     0.00   1,500.00",
        "",
        "PROFITABILITY WARNING  1 fixed-price over: Globex F-1 12.50 h",
        "⚠ QUARANTINE  16 rows, 42.25 h at risk: missing_project 12, no_rate 5",
        "",
    ]
    later = replace(before, run=QUIET_RUN, positions=[{**before.positions[0], "age_days": 36, "run_id": 413}])
    assert shown(console.lines(later, before), 160) == [console.line(later)]
    worse = replace(later, positions=[position("C-1", leakage="2100")])
    assert len(shown(console.lines(worse, later), 160)) > 5
    warned = replace(later, quarantine_reasons={"no_rate": 6})
    assert len(shown(console.lines(warned, later), 160)) > 5


def test_a_log_shows_twenty_contracts_and_says_of_how_many():
    assert "showing 20 of 40; abr report for the rest" in shown(console.lines(full()), 160)
    assert "widen the terminal or call abr report --format csv" in " ".join(shown(console.lines(full()), 60))


EVERYTHING = [
    full(),
    full(3),
    full(0),
    full(40, ("EUR",)),
    full(5, client=NASTY),
    full(400, ("EUR", "JPY", "USD", "KWD")),
]
EVERYTHING += [snapshot(), snapshot(run=HALTED_RUN), replace(full(), source="x" * 500, next_run_in_seconds=0)]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 131, 132, 160, 250])
@pytest.mark.parametrize("height", [10, 24, 50])
@pytest.mark.parametrize("index", range(len(EVERYTHING)))
def test_the_screen_fits(index, width, height):
    text = rendered(console.screen(EVERYTHING[index], width=width, height=height), width)
    assert len(text) <= height
    assert max(map(cell_len, text)) <= width
    assert all(map(is_safe, text))
    assert text[0].startswith("ABR")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 60))
def test_the_screen_fits_any_terminal(width, height):
    for each in (EVERYTHING[0], EVERYTHING[-2]):
        text = rendered(console.screen(each, width=width, height=height), width)
        assert len(text) <= height
        assert max(map(cell_len, text)) <= width


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50), (250, 60)])
def test_the_screen_shows_every_part(width, height):
    text = "\n".join(shown(console.screen(full(), width=width, height=height), width))
    for part in (
        "simulator, demo data",
        "run 412  61 ms  next run in 4 s",
        "2026-01-05 09:30:05Z  as of 2026-01-05",
        "3 opened, 1 changed",
        "1,204 logs = 1,187 priced + 17 quarantined",
        "flagged, ",
        "PROFITABILITY WARNING",
        "⚠ QUARANTINE  117 rows, 342.25 h at risk",
        "Over-billed",
        "Exposure",
        "Quarantined h",
        "Leakage",
    ):
        assert part in text


def test_the_screen_says_what_it_leaves_out():
    text = "\n".join(shown(console.screen(full(), width=80, height=24), 80))
    showing = re.search(r"showing (\d+) of 40", text)
    assert showing
    assert len(re.findall(r"^critical ", text, re.MULTILINE)) == int(showing[1])
    assert re.search(r"\+\d+ more", text)
    limited = replace(full(), position_count=1_234)
    assert "of 1,234" in "\n".join(shown(console.screen(limited, width=160, height=50), 160))


def test_a_quiet_screen_says_since_when():
    quiet = replace(full(), run=QUIET_RUN)
    assert "no change since run 412" in "\n".join(shown(console.screen(quiet, width=80, height=24)))


def test_a_screen_without_findings_is_no_bare_screen():
    assert shown(console.screen(snapshot([position("C-1")]), width=80, height=24)) == [
        "ABR  simulator, demo data                                         run 412  61 ms",
        "2026-01-05 09:30:05Z  as of 2026-01-05                       3 opened, 1 changed",
        "1,204 logs = 1,187 priced + 17 quarantined",
        "",
        "Currency    Leakage   Over-billed   Exposure  Pending  Unbilled h  Quarantined h",
        "────────────────────────────────────────────────────────────────────────────────",
        "EUR            0.00          0.00       0.00     0.00        0.00           0.00",
        "",
        "0 flagged, 0 watch, 1 contract",
        "Severity   Client          Contract   Leakage EUR  Unbilled h  Days  Over-billed",
        "────────────────────────────────────────────────────────────────────────────────",
        "ok         Client of C-1   C-1               0.00        0.00     –         0.00",
    ]
    assert shown(console.screen(snapshot(), width=80, height=24))[-1] == "0 flagged, 0 watch, 0 contracts"


def test_an_overrun_contract_of_unknown_worth_says_so():
    over = [overrun("F-2", 900, 25), overrun("F-1", 5_400, None)]
    text = "\n".join(shown(console.screen(snapshot(overruns=over), width=160, height=50), 160))
    assert re.search(r"Globex +F-1 +1\.50 +unknown", text)
    assert re.search(r"Globex +F-2 +0\.25 +25\.00", text)


def test_the_live_display_takes_the_screen_in_a_terminal():
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=80, height=24, _environ={})
    with Live(console.screen(full(), width=80, height=24), console=terminal, screen=True, auto_refresh=False):
        pass
    body = file.getvalue()
    assert body.count("\n") <= 24
    assert "⚠ QUARANTINE" in body


# ---- errors, terminals, pictures ----------------------------------------------------------------------------------


def test_a_halt_says_what_failed_and_what_to_do():
    error = DataIntegrityError("inbox abr.duckdb.inbox is missing", "create the folder, or name another with --inbox")
    assert shown(console.problem(error)) == [
        "CRITICAL ERROR (HALT)",
        "inbox abr.duckdb.inbox is missing",
        "create the folder, or name another with --inbox",
    ]
    red = "\n".join(rendered(console.problem(error), force_terminal=True, color_system="standard"))
    assert red.startswith("\x1b[1;31mCRITICAL ERROR (HALT)\x1b[0m\n")


def test_any_other_error_is_one_line():
    error = DatabaseBusy("abr.duckdb is in use by process 4711", "close it, or wait")
    assert shown(console.problem(error)) == ["abr: abr.duckdb is in use by process 4711; close it, or wait"]
    assert shown(console.problem(UsageError(NASTY)), 200) == [r"abr: [red]evil[/red]\x1b[2J\x9b31m\u202e\u200b\r\n"]


def test_a_pipe_is_wide_and_without_colour(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    file = io.StringIO()
    console.terminal(file).print(console.lines(full()))
    assert "\x1b" not in file.getvalue()
    assert "no room" not in file.getvalue()
    assert file.getvalue().splitlines()[0] == console.line(full())


def test_a_reader_that_leaves_is_the_callers_business():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        console.terminal(Closed()).print("x")


def test_a_picture_is_the_same_every_time_and_loads_nothing(monkeypatch):
    screen = console.screen(full(), width=100, height=30)
    first = console.svg(screen, width=100, title="abr monitor")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert console.svg(screen, width=100, title="abr monitor") == first
    assert first.startswith("<svg")
    assert "url(http" not in first
    assert "@font-face" not in first
    assert "QUARANTINE" in first
