"""What a load makes of rows: which version of a key lives, what a cell says, what becomes of one nobody can read."""

import datetime as dt
import json
import random
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest

from abr import loading
from abr.exceptions import DataIntegrityError
from abr.models import METADATA
from tests import harness

CONTRACT = {"contract_id": "C-1", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"}
PROJECT = {"project_id": "P-1", "contract_id": "C-1", "name": "Launch"}
RATE = {"contract_id": "C-1", "hourly_rate": "100", "valid_from": "2026-01-01"}
LOG = {"time_log_id": "L-1", "project_id": "P-1", "person": "ann", "worked_on": "2026-02-02", "hours": "10"}
INVOICE = {
    "invoice_id": "INV-1",
    "contract_id": "C-1",
    "currency": "EUR",
    "issued_on": "2026-02-28",
    "status": "issued",
}
LINE = {"invoice_id": "INV-1", "line_no": "1", "kind": "time", "time_log_id": "L-1", "hours": "10", "net_amount": "900"}
FIRM = {
    "contracts": [CONTRACT],
    "projects": [PROJECT],
    "rates": [RATE],
    "time_logs": [LOG],
    "invoices": [INVOICE],
    "invoice_lines": [LINE],
}
UNREADABLE = "unparseable_value"


@pytest.fixture(scope="module")
def database():
    with harness.fresh_database() as opened:
        yield opened


@pytest.fixture
def connection(database):
    harness.wipe(database)
    return database


def receive(connection, *, source="canonical", is_complete=False, **sources):
    """Load rows; return the counts as {data set: (read, new, superseded, unchanged, withdrawn)}, which add up."""
    loaded = harness.receive(connection, sources, source=source, is_complete=is_complete)
    for count in loaded.counts:
        assert count.read == count.new + count.superseded + count.unchanged
    return {
        count.dataset: (count.read, count.new, count.superseded, count.unchanged, count.withdrawn)
        for count in loaded.counts
    }


def export(connection, rows, *, covers=(), persons=(), is_complete=False, source="toggl"):
    """Load time logs as a tool's own export; return what the load did."""
    cells = loading.cells_of("time_logs")
    connection.rollback()
    connection.connection.driver_connection.register(
        "given_export",
        pa.table({cell: pa.array([row.get(cell) for row in rows], pa.string()) for cell in cells}),
    )
    with connection.begin():
        return loading.load(
            connection,
            {"time_logs": "given_export"},
            source=source,
            format_name="toggl",
            is_complete=is_complete,
            covers=covers,
            persons=persons,
            now=harness.NOW,
        )


def read(connection, query):
    return [tuple(row.values()) for row in harness.rows(connection, query)]


def live(connection, dataset, columns):
    """Return these columns of the rows that are live, sorted."""
    return read(connection, f"select {columns} from source.{dataset} where ended_load_id is null order by all")


def ended(connection, dataset, columns):
    return read(
        connection,
        f"select {columns}, ended_by, ended_load_id from source.{dataset} where ended_load_id is not null order by all",
    )


def reasons(connection, as_of=harness.AS_OF):
    """Run, and return the reasons of every row set aside, by data set and key."""
    harness.run(connection, as_of)
    found = {}
    for entity, key, listed in read(connection, "select entity, key, reasons from report.quarantine order by all"):
        found.setdefault((entity, key), []).append(listed)
    return found


# --------------------------------------------------------------------------------------------------
# Identity and versions


def test_loading_the_same_rows_again_does_nothing(connection):
    first = receive(connection, **FIRM)
    assert first == dict.fromkeys(FIRM, (1, 1, 0, 0, 0))
    stored = {name: read(connection, f"from source.{name}") for name in FIRM}
    harness.run(connection)
    assert receive(connection, **FIRM) == dict.fromkeys(FIRM, (1, 0, 0, 1, 0))
    assert {name: read(connection, f"from source.{name}") for name in FIRM} == stored
    assert read(connection, "from source.change") == []


def test_each_load_is_on_record_with_its_counts(connection):
    receive(connection, **FIRM)
    receive(connection, time_logs=[LOG | {"hours": "11"}])
    (first, second) = harness.rows(connection, "select * from source.load order by load_id")
    assert (second["load_id"], second["source"], second["format"]) == (first["load_id"] + 1, "canonical", "canonical")
    assert second["loaded_at"] == harness.NOW
    assert [count["dataset"] for count in json.loads(first["counts"])] == list(loading.DATASETS)
    assert json.loads(second["counts"]) == [
        {
            "dataset": "time_logs",
            "read": 1,
            "new": 0,
            "superseded": 1,
            "unchanged": 0,
            "withdrawn": 0,
            "withdrawn_of_others": 0,
        }
    ]


@pytest.mark.parametrize("few", [0, 2, 3], ids=["all at once", "too many for one by one", "one by one"])
def test_known_rows_are_found_however_they_are_looked_for(connection, monkeypatch, few):
    monkeypatch.setattr(loading, "_FEW_PLACES", few)
    known = [LOG | {"time_log_id": f"L-{number}"} for number in range(1, 10)]
    receive(connection, **FIRM | {"time_logs": known})
    again = [known[2], known[7], known[4] | {"hours": "4"}, LOG | {"time_log_id": "L-10"}]
    assert receive(connection, time_logs=again) == {"time_logs": (4, 1, 1, 2, 0)}
    live = "select time_log_id, seconds from source.time_logs where ended_load_id is null and seconds != 36000"
    assert harness.rows(connection, live) == [{"time_log_id": "L-5", "seconds": 14400}]
    assert ended(connection, "time_logs", "time_log_id") == [("L-5", "superseded", 2)]


@pytest.mark.parametrize(
    ("dataset", "other"),
    [
        ("contracts", {"client": "Acme Ltd"}),
        ("projects", {"name": "Relaunch"}),
        ("rates", {"hourly_rate": "110"}),
        ("time_logs", {"person": "bob"}),
        ("invoices", {"status": "paid"}),
        ("invoice_lines", {"net_amount": "901"}),
    ],
)
def test_new_content_under_a_known_key_supersedes_and_the_old_version_is_kept(connection, dataset, other):
    receive(connection, **FIRM)
    (column,) = other
    (before,) = live(connection, dataset, column)
    assert receive(connection, **{dataset: [FIRM[dataset][0] | other]}) == {dataset: (1, 0, 1, 0, 0)}
    assert live(connection, dataset, column) != [before]
    assert ended(connection, dataset, column) == [(*before, "superseded", 2)]


@pytest.mark.parametrize(
    "same",
    [
        {"hours": "10.000"},
        {"hours": " 10 "},
        {"hours": "+10."},
        {"person": "\tann\u2003"},
        {"role": "   "},
        {"worked_on": "2026-02-02\n"},
    ],
)
def test_content_is_compared_by_value_so_another_spelling_changes_nothing(connection, same):
    receive(connection, **FIRM)
    assert receive(connection, time_logs=[LOG | same])["time_logs"] == (1, 0, 0, 1, 0)


@pytest.mark.parametrize("other", [{"person": "Ann"}, {"is_billable": "true"}, {"hours": "0"}, {"hours": ""}])
def test_case_blanks_and_zero_are_differences(connection, other):
    receive(connection, **FIRM)
    assert receive(connection, time_logs=[LOG | other])["time_logs"] == (1, 0, 1, 0, 0)


def test_identical_copies_in_one_load_collapse(connection):
    assert receive(connection, time_logs=[LOG, LOG, LOG | {"hours": "10.0"}])["time_logs"] == (3, 1, 0, 2, 0)
    assert live(connection, "time_logs", "time_log_id") == [("L-1",)]


@pytest.mark.parametrize(
    ("dataset", "other", "key"),
    [
        ("contracts", {"client": "Acme Ltd"}, "C-1"),
        ("projects", {"name": "Relaunch"}, "P-1/C-1"),
        ("time_logs", {"hours": "11"}, "L-1"),
        ("invoices", {"status": "paid"}, "INV-1"),
        ("invoice_lines", {"line_no": "01", "net_amount": "901"}, "INV-1/1"),
    ],
)
def test_versions_that_differ_in_one_load_are_each_set_aside(connection, dataset, other, key):
    receive(connection, **FIRM | {dataset: [FIRM[dataset][0], FIRM[dataset][0] | other]})
    found = reasons(connection)[dataset, key]
    assert ["conflicting_duplicate" in listed.split(",") for listed in found] == [True, True]


def test_a_conflict_ends_when_one_version_is_sent_alone(connection):
    other = LOG | {"hours": "11"}
    receive(connection, **FIRM | {"time_logs": [LOG, other]})
    assert reasons(connection)["time_logs", "L-1"] == ["conflicting_duplicate"] * 2
    assert receive(connection, time_logs=[other])["time_logs"] == (1, 0, 0, 1, 0)
    assert live(connection, "time_logs", "seconds") == [(39600,)]
    assert reasons(connection) == {}


def test_a_conflict_that_a_third_version_replaces_is_over(connection):
    receive(connection, **FIRM | {"time_logs": [LOG, LOG | {"hours": "11"}]})
    assert receive(connection, time_logs=[LOG | {"hours": "12"}])["time_logs"] == (1, 0, 1, 0, 0)
    assert reasons(connection) == {}
    assert len(ended(connection, "time_logs", "seconds")) == 2


def test_rates_with_one_key_both_stay_and_both_are_replaced(connection):
    receive(connection, **FIRM | {"rates": [RATE, RATE | {"hourly_rate": "110"}]})
    assert live(connection, "rates", "hourly_rate") == [(100,), (110,)]
    assert reasons(connection) == {("time_logs", "L-1"): ["ambiguous_rate"]}
    receive(connection, rates=[RATE | {"hourly_rate": "120"}])
    assert live(connection, "rates", "hourly_rate") == [(120,)]
    assert reasons(connection) == {}


def test_rates_of_another_scope_or_start_have_another_key(connection):
    rates = [RATE, RATE | {"person": "ann"}, RATE | {"role": "ann"}, RATE | {"valid_from": "2026-02-01"}]
    receive(connection, **FIRM | {"rates": rates})
    assert receive(connection, rates=[rate | {"hourly_rate": "90"} for rate in rates])["rates"] == (4, 0, 4, 0, 0)


def test_rows_with_a_blank_key_are_each_themselves(connection):
    blank = LOG | {"time_log_id": " "}
    rows = [blank, blank | {"hours": "11"}]
    assert receive(connection, **FIRM | {"time_logs": [LOG, *rows, blank]})["time_logs"] == (4, 3, 0, 1, 0)
    assert receive(connection, time_logs=rows)["time_logs"] == (2, 0, 0, 2, 0)
    assert reasons(connection) == {("time_logs", ""): ["missing_value"] * 2}
    assert receive(connection, time_logs=[blank | {"hours": "12"}])["time_logs"] == (1, 1, 0, 0, 0)


def test_keys_are_told_apart_part_by_part_also_where_ids_hold_a_slash(connection):
    contracts = [CONTRACT | {"contract_id": "c"}, CONTRACT | {"contract_id": "b/c"}]
    projects = [{"project_id": "a/b", "contract_id": "c"}, {"project_id": "a", "contract_id": "b/c"}]
    receive(connection, **FIRM | {"contracts": [CONTRACT, *contracts], "projects": [PROJECT, *projects]})
    assert reasons(connection) == {}
    assert receive(connection, projects=[projects[0] | {"name": "new"}])["projects"] == (1, 0, 1, 0, 0)
    assert live(connection, "projects", "project_id, name") == [("P-1", "Launch"), ("a", None), ("a/b", "new")]


def test_cells_are_told_apart_also_where_they_hold_control_characters(connection):
    receive(connection, **FIRM | {"time_logs": [LOG | {"person": "a\x1fb", "role": "c"}]})
    other = LOG | {"person": "a", "role": "b\x1fc"}
    assert receive(connection, time_logs=[other])["time_logs"] == (1, 0, 1, 0, 0)


def test_a_line_number_is_known_by_its_value(connection):
    receive(connection, **FIRM)
    assert receive(connection, invoice_lines=[LINE | {"line_no": "01.0"}])["invoice_lines"] == (1, 0, 0, 1, 0)
    harness.run(connection)
    receive(connection, invoice_lines=[LINE | {"line_no": "02", "kind": "nonsense"}])
    assert list(reasons(connection)) == [("invoice_lines", "INV-1/2")]


def test_an_id_live_in_two_sources_is_a_conflict_until_one_lets_go(connection):
    receive(connection, **FIRM)
    assert receive(connection, time_logs=[LOG], source="other")["time_logs"] == (1, 1, 0, 0, 0)
    assert reasons(connection) == {("time_logs", "L-1"): ["conflicting_duplicate"] * 2}
    receive(connection, time_logs=[LOG | {"time_log_id": "L-2"}], source="other", is_complete=True)
    assert reasons(connection) == {}


def test_a_source_supersedes_and_withdraws_only_its_own(connection):
    receive(connection, **FIRM)
    receive(connection, time_logs=[LOG | {"time_log_id": "L-2"}], source="other", is_complete=True)
    assert live(connection, "time_logs", "source, time_log_id") == [("canonical", "L-1"), ("other", "L-2")]


def test_ids_of_another_format_carry_the_name_of_their_source(connection):
    receive(connection, **FIRM)
    export(connection, [LOG, LOG | {"time_log_id": ""}], source="Acme's")
    assert live(connection, "time_logs", "time_log_id") == [("Acme's:L-1",), ("L-1",), (None,)]
    assert reasons(connection) == {("time_logs", ""): ["missing_value"]}


# --------------------------------------------------------------------------------------------------
# Withdrawal


def test_what_a_complete_load_lacks_is_withdrawn_in_the_data_sets_it_holds(connection):
    receive(connection, **FIRM | {"time_logs": [LOG, LOG | {"time_log_id": "L-2"}]})
    counts = receive(
        connection, time_logs=[LOG | {"time_log_id": "L-2"}, LOG | {"time_log_id": "L-3"}], is_complete=True
    )
    assert counts == {"time_logs": (2, 1, 0, 1, 1)}
    assert ended(connection, "time_logs", "time_log_id") == [("L-1", "withdrawn", 2)]
    assert live(connection, "contracts", "contract_id") == [("C-1",)]


def test_a_complete_load_withdraws_rows_with_a_blank_key_and_supersedes_changed_ones(connection):
    receive(connection, **FIRM | {"time_logs": [LOG, LOG | {"time_log_id": ""}]})
    assert receive(connection, time_logs=[LOG | {"hours": "1"}], is_complete=True)["time_logs"] == (1, 0, 1, 0, 1)
    assert ended(connection, "time_logs", "time_log_id") == [("L-1", "superseded", 2), (None, "withdrawn", 2)]


def test_a_withdrawn_row_that_comes_again_is_new(connection):
    receive(connection, **FIRM | {"time_logs": [LOG, LOG | {"time_log_id": "L-2"}]})
    receive(connection, time_logs=[LOG], is_complete=True)
    assert receive(connection, time_logs=[LOG | {"time_log_id": "L-2"}])["time_logs"] == (1, 1, 0, 0, 0)


@pytest.mark.parametrize("dataset", loading.DATASETS)
def test_a_data_set_that_had_rows_and_comes_empty_in_a_complete_load_is_a_failed_feed(connection, dataset):
    receive(connection, **FIRM)
    before = {table.fullname: read(connection, f"from {table.fullname}") for table in METADATA.sorted_tables}
    with pytest.raises(DataIntegrityError, match=f"{dataset} of source canonical had rows and now comes empty"):
        receive(connection, **{"contracts": [CONTRACT | {"client": "new"}], dataset: []}, is_complete=True)
    assert {table.fullname: read(connection, f"from {table.fullname}") for table in METADATA.sorted_tables} == before


def test_an_empty_data_set_is_a_quiet_day_where_there_was_nothing_or_where_it_is_not_declared_complete(connection):
    assert receive(connection, **FIRM | {"invoices": [], "invoice_lines": []}, is_complete=True)["invoices"] == (0,) * 5
    assert receive(connection, time_logs=[])["time_logs"] == (0,) * 5
    assert live(connection, "time_logs", "time_log_id") == [("L-1",)]


FEBRUARY = ((dt.date(2026, 2, 1), dt.date(2026, 2, 28)),)
OF_ANN = LOG | {"time_log_id": "1"}
OF_BOB = LOG | {"time_log_id": "2", "person": "bob", "worked_on": "2026-02-28"}
OF_MARCH = LOG | {"time_log_id": "3", "worked_on": "2026-03-01"}


def test_an_export_withdraws_what_it_lacks_of_the_days_it_covers(connection):
    export(connection, [OF_ANN, OF_BOB, OF_MARCH])
    loaded = export(connection, [OF_ANN], covers=FEBRUARY)
    assert (loaded.counts[0].withdrawn, loaded.counts[0].withdrawn_of_others) == (1, 1)
    assert live(connection, "time_logs", "time_log_id") == [("toggl:1",), ("toggl:3",)]


def test_entries_of_others_are_counted_as_theirs_also_where_an_entry_of_the_export_names_no_person(connection):
    export(connection, [OF_ANN, OF_BOB])
    loaded = export(connection, [OF_ANN, LOG | {"time_log_id": "4", "person": None}], covers=FEBRUARY)
    assert (loaded.counts[0].withdrawn, loaded.counts[0].withdrawn_of_others) == (1, 1)


def test_an_export_of_one_person_withdraws_only_theirs(connection):
    export(connection, [OF_ANN, OF_BOB, OF_MARCH])
    loaded = export(connection, [OF_ANN | {"time_log_id": "9"}], covers=FEBRUARY, persons=["ann"])
    assert (loaded.counts[0].withdrawn, loaded.counts[0].withdrawn_of_others) == (1, 0)
    assert live(connection, "time_logs", "time_log_id") == [("toggl:2",), ("toggl:3",), ("toggl:9",)]


def test_an_export_may_cover_several_spans_and_persons_with_quotes_in_their_names(connection):
    export(connection, [OF_ANN | {"person": "O'Hara"}, OF_BOB, OF_MARCH])
    spans = ((dt.date(2026, 2, 2), dt.date(2026, 2, 2)), (dt.date(2026, 3, 1), dt.date(2026, 3, 1)))
    export(connection, [OF_ANN | {"time_log_id": "9"}], covers=spans, persons=["O'Hara", "ann"])
    assert live(connection, "time_logs", "time_log_id") == [("toggl:2",), ("toggl:9",)]


def test_a_row_without_a_readable_date_is_covered_by_no_days(connection):
    export(connection, [OF_ANN, OF_BOB | {"worked_on": "2026-02-30"}])
    export(connection, [OF_ANN], covers=FEBRUARY)
    assert live(connection, "time_logs", "time_log_id") == [("toggl:1",), ("toggl:2",)]


def test_the_lines_of_an_invoice_are_replaced_as_a_set(connection):
    lines = [LINE, LINE | {"line_no": "2"}, LINE | {"line_no": ""}, LINE | {"invoice_id": "INV-2"}]
    receive(connection, **FIRM | {"invoice_lines": lines})
    counts = receive(connection, invoice_lines=[LINE | {"net_amount": "5"}, LINE | {"line_no": "3"}])
    assert counts["invoice_lines"] == (2, 1, 1, 0, 2)
    assert live(connection, "invoice_lines", "invoice_id, line_no, net_amount") == [
        ("INV-1", 1, 5),
        ("INV-1", 3, 900),
        ("INV-2", 1, 900),
    ]


def test_a_load_of_an_invoice_without_lines_leaves_its_lines_alone(connection):
    receive(connection, **FIRM)
    receive(connection, invoices=[INVOICE | {"status": "paid"}])
    assert live(connection, "invoice_lines", "invoice_id, line_no") == [("INV-1", 1)]


# --------------------------------------------------------------------------------------------------
# Cells


NO_NUMBERS = (
    "1,5", "NaN", "nan", "inf", "-Infinity", "1e400", "1e2", "1E-3", "0x10", "1_000", "1 000", "--5", "+-5", "5-", "+",
    "-", ".", "$5", "5%", "\u0663", "\uff15", "\u00bd", "five", "=1+1", "@SUM(A1)", "\U0001f600", "1\x005", "true",
    "\x1b[31m5", "1.2.3", "'5'",
)  # fmt: skip
NO_DATES = (
    "2026-02-30", "2026-2-3", "20260203", "03.02.2026", "02/03/2026", "2026-02-03T00:00", "2026-02-03 00:00:00",
    "infinity", "-infinity", "epoch", "0000-01-01", "2026-00-10", "2026-13-01", "2025-02-29", "10000-01-01",
    "-2026-01-01", "today",
    "\uff12026-02-03", "2026-02-0\x003", "46055", "=TODAY()", "\U0001f600", "2026\u201302\u201303",
)  # fmt: skip
NO_BOOLEANS = ("2", "-1", "y", "n", "t", "oui", "on", "null", "1.0", "=TRUE()", "\U0001f600", "\x00")
NO_DURATIONS = (
    "1:60",
    "1:5",
    ":30",
    "-1:30",
    "+1:30",
    "1:30:60",
    "1:30:5",
    "1.5",
    "90",
    "1h30",
    "1:30 h",
    "1:30:00:00",
)
NO_TIMES = (
    "2026-02-30", "2026-02-03T24:00", "2026-02-03T12", "2026-02-03T12:60", "2026-02-03T1:00", "2026-02-03  12:00",
    "2026-02-03T12:00+1:00", "2026-02-03T12:00+0100", "2026-02-03T12:00 UTC", "2026-02-03T12:00:00,5",
    "noon", "2026-02-03Z",
)  # fmt: skip
# Per data set: the cell, and what it cannot hold.
UNREADABLE_CELLS = (
    ("contracts", "starts_on", NO_DATES),
    ("contracts", "ends_on", NO_DATES),
    ("contracts", "rounding_minutes", (*NO_NUMBERS, "1.5", "0.00001")),
    ("contracts", "grace_days", (*NO_NUMBERS, "1.5")),
    ("contracts", "overtime_multiplier", (*NO_NUMBERS, "1.00001")),
    ("contracts", "discount_percent", (*NO_NUMBERS, "1.00001")),
    ("contracts", "cap_amount", (*NO_NUMBERS, "1.001")),
    ("contracts", "threshold_amount", (*NO_NUMBERS, "1.001")),
    ("projects", "is_billable", NO_BOOLEANS),
    ("rates", "hourly_rate", (*NO_NUMBERS, "1.00001")),
    ("rates", "valid_from", NO_DATES),
    ("rates", "valid_to", NO_DATES),
    ("time_logs", "worked_on", NO_DATES),
    ("time_logs", "hours", (*NO_NUMBERS, "1:30")),
    ("time_logs", "minutes", NO_NUMBERS),
    ("time_logs", "seconds", NO_NUMBERS),
    ("time_logs", "duration", (*NO_DURATIONS, *NO_NUMBERS)),
    ("time_logs", "is_billable", NO_BOOLEANS),
    ("time_logs", "is_approved", NO_BOOLEANS),
    ("time_logs", "entered_at", NO_TIMES),
    ("invoices", "issued_on", NO_DATES),
    ("invoice_lines", "line_no", (*NO_NUMBERS, "1.5")),
    ("invoice_lines", "period_start", NO_DATES),
    ("invoice_lines", "period_end", NO_DATES),
    ("invoice_lines", "hours", NO_NUMBERS),
    ("invoice_lines", "duration", NO_DURATIONS),
    ("invoice_lines", "net_amount", (*NO_NUMBERS, "1.001")),
)
IDS = {
    "contracts": "contract_id",
    "projects": "project_id",
    "rates": "contract_id",
    "time_logs": "time_log_id",
    "invoices": "invoice_id",
    "invoice_lines": "invoice_id",
}
WITHOUT_DURATION = dict.fromkeys(loading.DURATION_CELLS, "")


def with_cell(dataset, column, cell, name):
    """Return a row of its own with this cell."""
    row = FIRM[dataset][0] | {IDS[dataset]: name}
    if column in WITHOUT_DURATION:
        row |= WITHOUT_DURATION
    return row | {column: cell}


def set_aside(connection, dataset, column, cells):
    """Load a row per cell, run, and return what was set aside of them, by cell."""
    named = {f"X-{place}": cell for place, cell in enumerate(cells)}
    more = {}
    if dataset == "rates":
        more["contracts"] = [CONTRACT, *(CONTRACT | {"contract_id": name} for name in named)]
    if dataset == "invoice_lines":
        more["invoices"] = [INVOICE, *(INVOICE | {"invoice_id": name} for name in named)]
    rows = [with_cell(dataset, column, cell, name) for name, cell in named.items()]
    receive(connection, **FIRM | more | {dataset: [*FIRM[dataset], *rows]})
    harness.run(connection)
    found = harness.rows(connection, f"select * from report.quarantine where entity = '{dataset}'")
    # A rate that is set aside takes its contract with it, and that is all.
    others = read(connection, f"select entity, reasons from report.quarantine where entity != '{dataset}'")
    assert set(others) <= {("contracts", "bad_rate")}, others
    return {named[row["key"].split("/")[0]]: row for row in found}


@pytest.mark.parametrize(("dataset", "column", "cells"), UNREADABLE_CELLS, ids=lambda value: str(value)[:20])
def test_a_cell_that_cannot_be_read_sets_its_row_aside_and_is_kept_as_it_was_given(connection, dataset, column, cells):
    found = set_aside(connection, dataset, column, cells)
    assert {cell: found[cell]["reasons"] if cell in found else None for cell in cells} == dict.fromkeys(
        cells, UNREADABLE
    )
    for cell in cells:
        assert json.loads(found[cell]["raw"])[column] == cell
        assert column in found[cell]["detail"]
        assert cell.strip("\x00") in found[cell]["detail"] or "\x00" in cell


def rounded(exact):
    """Return a whole number, half away from zero."""
    whole = int(abs(exact) + Fraction(1, 2))
    return -whole if exact < 0 else whole


@pytest.mark.parametrize(("cell", "unit_seconds"), [("hours", 3600), ("minutes", 60), ("seconds", 1)])
def test_however_many_decimals_a_duration_has_it_is_rounded_once_half_away_from_zero(connection, cell, unit_seconds):
    chance = random.Random(cell)
    texts = [
        f"{chance.choice(['', '-'])}{chance.randrange(24)}.{chance.randrange(10**places):0{places}}"
        for places in range(1, 15)
        for _ in range(20)
    ]
    # Half a second, and what lies next to it, at nine decimals and more.
    texts += ["0.00125", "-0.00125", "0.025", "-0.025", "0.5", "-0.5", "0.499999999", "0.4999999999"]
    for places in (9, 10, 33, 34, 35, 36, 60, 300):
        for halves in (
            1,
            3,
            5,
            59,
            2 * unit_seconds + 7,
            *[chance.randrange(1, 24 * unit_seconds, 2) for _ in range(9)],
        ):
            below = halves * 10**places // (2 * unit_seconds)
            nearby = ((below - 1, ""), (below, ""), (below + 1, ""), (below, "0" * 39 + "1"), (below, "9" * 40))
            for near, tail in nearby:
                digits = f"{near:0{places + 1}}"
                texts.append(f"{chance.choice(['', '-'])}{digits[:-places]}.{digits[-places:]}{tail}")
    rows = {f"L-{place}": text for place, text in enumerate(texts)}
    receive(connection, time_logs=[LOG | WITHOUT_DURATION | {"time_log_id": key, cell: text}
                                   for key, text in rows.items()])  # fmt: skip
    found = dict(read(connection, "select time_log_id, seconds from source.time_logs where ended_load_id is null"))
    assert found == {key: rounded(Fraction(text) * unit_seconds) for key, text in rows.items()}


MEGABYTES = "7" * 10_000_000


@pytest.mark.parametrize(
    ("dataset", "column"),
    [
        ("time_logs", "hours"),
        ("time_logs", "worked_on"),
        ("invoice_lines", "net_amount"),
        pytest.param("contracts", "cap_amount", marks=pytest.mark.slow),
        pytest.param("projects", "is_billable", marks=pytest.mark.slow),
        pytest.param("rates", "hourly_rate", marks=pytest.mark.slow),
        pytest.param("time_logs", "duration", marks=pytest.mark.slow),
        pytest.param("invoices", "issued_on", marks=pytest.mark.slow),
    ],
)
def test_ten_megabytes_in_a_cell_set_its_row_aside_and_are_kept_while_the_detail_stays_short(
    connection, dataset, column
):
    found = set_aside(connection, dataset, column, [MEGABYTES])[MEGABYTES]
    assert found["reasons"] == UNREADABLE
    assert json.loads(found["raw"])[column] == MEGABYTES
    assert len(found["detail"]) < 1000


TEXTS = {
    "a formula": '=HYPERLINK("http://x","y")',
    "a sign": "-2+3",
    "an escape sequence": "\x1b]0;title\x07\x1b[31mred",
    "an emoji": "\U0001f469\u200d\U0001f4bb",
    "a line break": "a\r\nb\tc",
    "right to left": "\u202eabc",
    "a NUL": "a\x00b",
    "quotes": 'O\'Hara "x" `y` \\ {z} %s :name ?',
    "SQL": "'; drop table source.time_logs; --",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_any_text_is_fine_in_a_cell_for_text_and_is_kept_as_it_is(connection, text):
    ids = {"contract_id": text, "project_id": text, "person": text, "time_log_id": text}
    given = {
        "contracts": [CONTRACT | {"contract_id": text, "client": text}],
        "projects": [PROJECT | {"contract_id": text, "project_id": text, "name": text}],
        "rates": [RATE | {"contract_id": text, "person": text}],
        "time_logs": [LOG | ids | {"note": text}],
    }
    receive(connection, **given)
    assert reasons(connection) == {}
    (found,) = harness.rows(connection, "select * from report.finding")
    assert (found["contract_id"], found["client"], found["person"], found["amount"]) == (text, text, text, 1000)
    assert found["about"] == f"log:{text}"
    assert live(connection, "time_logs", "note") == [(text,)]


def test_ten_megabytes_of_text_are_fine_too(connection):
    text = "x" * 10_000_000
    receive(connection, **FIRM | {"time_logs": [LOG | {"note": text}, LOG | {"time_log_id": text}]})
    assert reasons(connection) == {}
    assert live(connection, "time_logs", "length(note), length(time_log_id)") == [(len(text), 3), (None, len(text))]


def test_a_required_cell_that_is_blank_is_missing(connection):
    for dataset, required in {
        "contracts": ("client", "currency", "starts_on"),
        "rates": ("hourly_rate",),
        "invoices": ("currency", "status"),
        "invoice_lines": ("net_amount",),
    }.items():
        for column in required:
            harness.wipe(connection)
            found = set_aside(connection, dataset, column, [" "])[" "]
            assert (found["reasons"], found["detail"]) == ("missing_value", column)


def test_each_thing_a_time_log_can_lack_has_its_own_reason(connection):
    lacking = {"project_id": "missing_project", "person": "missing_person", "worked_on": "missing_date"}
    lacking |= {"hours": "missing_duration"}
    rows = [LOG | {"time_log_id": column, column: ""} for column in lacking]
    receive(connection, **FIRM | {"time_logs": [LOG, *rows]})
    assert reasons(connection) == {("time_logs", column): [reason] for column, reason in lacking.items()}


def test_a_row_has_every_reason_there_is_for_it(connection):
    wrong = {"person": "", "project_id": "P-9", "hours": "25", "is_approved": "perhaps", "worked_on": "2026-04-01"}
    receive(connection, **FIRM | {"time_logs": [LOG, LOG | wrong | {"time_log_id": "L-2"}]})
    assert reasons(connection) == {
        ("time_logs", "L-2"): ["future_dated,missing_person,over_24_hours,unknown_project,unparseable_value"]
    }


def test_the_raw_row_of_a_log_set_aside_holds_its_cells_as_they_were_given(connection):
    given = LOG | {"time_log_id": "L-2", "person": "", "hours": "1.50", "is_billable": "Yes", "note": "as given"}
    receive(connection, **FIRM | {"time_logs": [LOG, given]})
    harness.run(connection)
    ((raw,),) = read(connection, "select raw from report.quarantine where key = 'L-2'")
    assert {name: json.loads(raw).get(name) for name, cell in given.items() if cell} == {
        name: cell for name, cell in given.items() if cell
    }


@pytest.mark.parametrize("cell", ["1.5000000000000000000000000000000000", "01.5", "+1.5", " 1.5\t"])
def test_a_number_may_be_written_in_several_ways(connection, cell):
    receive(connection, rates=[RATE | {"hourly_rate": cell}], time_logs=[LOG | {"hours": cell}])
    assert live(connection, "rates", "hourly_rate, odd_cells") == [(Decimal("1.5"), None)]
    assert live(connection, "time_logs", "seconds, odd_cells") == [(5400, None)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [("5.", "5"), (".5", "0.5"), ("+5", "5"), ("-.5", "-0.5"), ("1.50000000", "1.5"), ("-0", "0"), ("007", "7")],
)
def test_a_point_without_digits_on_one_side_and_zeros_at_the_end_are_fine(connection, cell, value):
    receive(
        connection,
        rates=[RATE | {"hourly_rate": cell}],
        contracts=[CONTRACT | {"cap_amount": cell, "discount_percent": cell}],
        invoice_lines=[LINE | {"net_amount": cell}],
        time_logs=[LOG | {"hours": cell}],
    )
    number = Decimal(value)
    assert live(connection, "rates", "hourly_rate") == [(number,)]
    assert live(connection, "contracts", "cap_amount, discount_percent") == [(number, number)]
    assert live(connection, "invoice_lines", "net_amount") == [(number,)]
    assert live(connection, "time_logs", "seconds") == [(int(number * 3600),)]


def test_a_whole_number_may_end_in_zeros_behind_the_point(connection):
    receive(
        connection,
        contracts=[CONTRACT | {"rounding_minutes": "15.0", "grace_days": "30.", "cap_minutes": "+0060.000000000000"}],
    )
    assert live(connection, "contracts", "rounding_minutes, grace_days, cap_minutes, odd_cells") == [(15, 30, 60, None)]


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        ({"seconds": "5400"}, 5400),
        ({"minutes": "90"}, 5400),
        ({"hours": "1.5"}, 5400),
        ({"duration": "1:30"}, 5400),
        ({"duration": "1:30:00"}, 5400),
        ({"duration": "0001:30:01"}, 5401),
        ({"duration": "0:00:59"}, 59),
        ({"duration": "100:00"}, 360000),
        ({"seconds": "0.5"}, 1),
        ({"seconds": "0.4999999999999999999999999999999"}, 0),
        ({"seconds": "-0.5"}, -1),
        ({"minutes": "0.025"}, 2),
        ({"minutes": "-0.025"}, -2),
        ({"minutes": "0.02499999999999999999999"}, 1),
        ({"hours": "0.3333333333333333333333333333333333333333"}, 1200),
        ({"hours": "0.000138888888888888888888888888888888888"}, 0),
        ({"hours": "0.000138888888888888888889"}, 1),
        ({"hours": "-1.5"}, -5400),
        ({"hours": "0"}, 0),
    ],
)
def test_a_duration_becomes_whole_seconds_half_away_from_zero(connection, cells, seconds):
    receive(connection, time_logs=[LOG | WITHOUT_DURATION | cells], invoice_lines=[LINE | WITHOUT_DURATION | cells])
    (cell,) = cells
    assert live(connection, "time_logs", "seconds, duration_cell, odd_cells") == [(seconds, cell, None)]
    assert live(connection, "invoice_lines", "seconds, duration_cell, odd_cells") == [(seconds, cell, None)]


def test_more_than_one_duration_cell_is_unreadable_also_where_they_agree(connection):
    several = LOG | {"time_log_id": "L-2", "hours": "1", "minutes": "60"}
    receive(connection, **FIRM | {"time_logs": [LOG, several]})
    assert reasons(connection) == {("time_logs", "L-2"): [UNREADABLE]}
    ((detail, seconds),) = read(connection, "select detail, seconds from report.quarantine")
    assert detail == "hours: 1; minutes: 60"
    assert seconds is None


@pytest.mark.parametrize(
    ("hours", "reason"),
    [
        ("24", None),
        ("24.0001", None),
        ("24.0003", "over_24_hours"),
        ("0", "non_positive_duration"),
        ("-1", "non_positive_duration"),
        ("0.0001", "non_positive_duration"),
        ("0.0002", None),
        ("9999999999", "over_24_hours"),
    ],
)
def test_one_entry_lasts_more_than_nothing_and_at_most_a_day(connection, hours, reason):
    receive(connection, **FIRM | {"time_logs": [LOG, LOG | {"time_log_id": "L-2", "hours": hours}]})
    assert reasons(connection) == ({("time_logs", "L-2"): [reason]} if reason else {})


@pytest.mark.parametrize(
    ("currency", "amount", "is_readable"),
    [
        ("EUR", "1.50", True),
        ("EUR", "1.5000000000", True),
        ("EUR", "1.005", False),
        ("EUR", "1.00001", False),
        ("JPY", "100.00", True),
        ("JPY", "100.5", False),
        ("KWD", "1.234", True),
        ("KWD", "1.2345", False),
        ("CLF", "1.2345", True),
    ],
)
def test_an_amount_has_at_most_the_decimals_of_its_currency(connection, currency, amount, is_readable):
    contract = CONTRACT | {"contract_id": "C-2", "currency": currency}
    receive(
        connection,
        **FIRM
        | {
            "contracts": [CONTRACT, contract | {"cap_amount": amount}],
            "invoices": [INVOICE, INVOICE | {"invoice_id": "INV-2", "currency": currency}],
            "invoice_lines": [LINE, LINE | {"invoice_id": "INV-2", "net_amount": amount}],
        },
    )
    unreadable = {("contracts", "C-2"): [UNREADABLE], ("invoice_lines", "INV-2/1"): [UNREADABLE]}
    assert reasons(connection) == ({} if is_readable else unreadable)


@pytest.mark.parametrize("amount", ["1.23456789", "1.5"])
def test_an_amount_in_an_unknown_currency_may_have_any_decimals(connection, amount):
    contract = CONTRACT | {"contract_id": "C-2", "currency": "XQX", "cap_amount": amount}
    receive(connection, **FIRM | {"contracts": [CONTRACT, contract]})
    assert reasons(connection) == {("contracts", "C-2"): ["unknown_currency"]}


@pytest.mark.parametrize(("cell", "value"), [("TRUE", True), ("Yes", True), ("1", True), ("no", False), ("0", False)])
def test_a_yes_or_no_comes_in_several_words_in_any_case(connection, cell, value):
    receive(connection, time_logs=[LOG | {"is_billable": cell}])
    assert live(connection, "time_logs", "is_billable, odd_cells") == [(value, None)]


@pytest.mark.parametrize("cell", ["0001-01-01", "9999-12-31", "2024-02-29"])
def test_every_day_of_the_calendar_is_a_date(connection, cell):
    receive(connection, time_logs=[LOG | {"worked_on": cell}])
    assert live(connection, "time_logs", "worked_on, odd_cells") == [(dt.date.fromisoformat(cell), None)]


@pytest.mark.parametrize(
    ("cell", "utc"),
    [
        ("2026-02-03", "2026-02-03 00:00"),
        ("2026-02-03T23:30", "2026-02-03 23:30"),
        ("2026-02-03 23:30:15", "2026-02-03 23:30:15"),
        ("2026-02-03T23:30:15.123456789Z", "2026-02-03 23:30:15.123456"),
        ("2026-02-03T23:30-02:00", "2026-02-04 01:30"),
        ("2026-02-03T00:30+02:00", "2026-02-02 22:30"),
        ("2026-02-03 12:00:00.5+05:45", "2026-02-03 06:15:00.500000"),
        ("2026-02-03T12:00-00:00", "2026-02-03 12:00"),
        ("2026-12-31T23:00-23:59", "2027-01-01 22:59"),
    ],
)
def test_entered_at_is_a_time_in_utc(connection, cell, utc):
    receive(connection, time_logs=[LOG | {"entered_at": cell}])
    assert live(connection, "time_logs", "entered_at, odd_cells") == [(dt.datetime.fromisoformat(utc), None)]


@pytest.mark.parametrize(
    ("entered_at", "found"),
    [
        ("2026-02-28T23:30-01:00", "late_entry"),
        ("2026-03-01T00:30+01:00", "unbilled"),
        ("2026-03-01", "late_entry"),
        ("2026-02-28", "unbilled"),
        ("nobody knows", None),
    ],
)
def test_the_date_in_utc_says_whether_an_entry_was_late(connection, entered_at, found):
    line = LINE | {"time_log_id": "", "project_id": "P-0", "period_start": "2026-02-01", "period_end": "2026-02-28"}
    log = LOG | {"entered_at": entered_at}
    receive(connection, **FIRM | {"time_logs": [log], "invoice_lines": [line]})
    harness.run(connection)
    classes = read(connection, "select class from report.finding where about = 'log:L-1'")
    assert classes == ([(found,)] if found else [])


@pytest.mark.parametrize(
    ("dataset", "column", "largest", "beyond"),
    [
        ("contracts", "rounding_minutes", "99999", "100000"),
        ("contracts", "minimum_minutes", "-99999", "-100000"),
        ("contracts", "overtime_after_minutes", "999999999", "1000000000"),
        ("contracts", "overtime_multiplier", "99.9999", "100"),
        ("contracts", "weekend_multiplier", "99.9999", "100"),
        ("contracts", "prepaid_minutes", "999999999", "1000000000"),
        ("contracts", "cap_minutes", "999999999", "1000000000"),
        ("contracts", "cap_amount", "999999999999.99", "1000000000000"),
        ("contracts", "discount_percent", "9999.9999", "10000"),
        ("contracts", "grace_days", "9" * 15, "1" + "0" * 15),
        ("contracts", "threshold_amount", "999999999999.99", "1000000000000"),
        ("rates", "hourly_rate", "99999999.9999", "100000000"),
        ("invoice_lines", "line_no", "9" * 15, "1" + "0" * 15),
        ("invoice_lines", "net_amount", "-999999999999.99", "-1000000000000"),
        ("invoice_lines", "seconds", "9999999999", "10000000000"),
        ("invoice_lines", "hours", "9999999999.9", "10000000000.1"),
    ],
)
def test_a_number_beyond_what_the_pricing_chain_can_carry_is_unreadable(connection, dataset, column, largest, beyond):
    value = "seconds" if column in WITHOUT_DURATION else column
    for cell, is_readable in ((largest, True), (beyond, False), ("9" * 60, False)):
        harness.wipe(connection)
        row = with_cell(dataset, column, cell, "C-1" if dataset != "invoice_lines" else "INV-1")
        receive(connection, **{dataset: [row]})
        ((typed, odd),) = live(connection, dataset, f"{value}, odd_cells")
        assert (typed is not None, odd is None) == (is_readable, is_readable), cell
        if odd:
            assert json.loads(odd) == {column: cell}
