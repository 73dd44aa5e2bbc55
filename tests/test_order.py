"""Any order, same answer: a firm that arrives in pieces, shuffled, twice, ends where loading it at once ends.

A piece never splits the lines of an invoice, and never splits or reorders the versions of one key: those say which
version is the newer one, so their order is part of what was said.
"""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import firms, harness
from tests import reference_model as model


@pytest.fixture(scope="module")
def connection():
    with harness.fresh_database() as opened:
        yield opened


def told(connection):
    """Return all that the report schema says, without the runs that happened to say it."""
    return {
        "counts": harness.answers(connection)["counts"],
        "position": harness.rows(
            connection, "select * exclude (run_id) from report.contract_position order by contract_id"
        ),
        "finding": harness.rows(
            connection, "select * exclude (opened_run_id, opened_at) from report.finding order by finding_id"
        ),
        "quarantine": harness.rows(
            connection, "select * exclude (opened_run_id, opened_at) from report.quarantine order by all"
        ),
        "aging": harness.rows(connection, "select * from report.leakage_aging order by all"),
        "by_client": harness.rows(connection, "select * from report.leakage_by_client order by all"),
        "by_project": harness.rows(connection, "select * from report.leakage_by_project order by all"),
    }


def has_feed(connection):
    return all(
        connection.exec_driver_sql(f"select 1 from source.{dataset} where ended_load_id is null limit 1").first()
        for dataset in ("contracts", "time_logs")
    )


def units_of(firm):
    """Return the rows of a firm in the smallest units that may arrive apart, as (data set, rows)."""
    units = {}
    for dataset, rows in firm.items():
        for place, row in enumerate(rows):
            key = model.identity(model.read_row(dataset, row))
            if dataset == "invoice_lines":
                key = (row["invoice_id"] or "").strip()
            units.setdefault((dataset, key or place), []).append(row)
    return [(dataset, rows) for (dataset, _), rows in units.items()]


def pieces_of(units, cuts):
    """Return the units put together again, a new piece after each cut."""
    pieces = []
    for first, last in zip([0, *cuts], [*cuts, len(units)], strict=True):
        piece = {}
        for dataset, rows in units[first:last]:
            piece.setdefault(dataset, []).extend(rows)
        if piece:
            pieces.append(piece)
    return pieces


def at_once(connection, firm):
    harness.wipe(connection)
    harness.receive(connection, firm)
    harness.run(connection)
    return told(connection)


@st.composite
def arrivals(draw):
    """Return a firm, and the pieces in which it arrives, some of them twice, each with the date of the run after it."""
    firm = draw(firms.firms())
    units = draw(st.permutations(units_of(firm)))
    cuts = sorted(draw(st.lists(st.integers(1, max(len(units) - 1, 1)), max_size=4, unique=True)))
    pieces = pieces_of(units, cuts)
    again = draw(st.lists(st.sampled_from(pieces), max_size=2))
    pieces += again
    days = sorted(draw(st.lists(st.integers(0, 90), min_size=len(pieces), max_size=len(pieces))), reverse=True)
    return firm, [(piece, harness.AS_OF - dt.timedelta(days=day)) for piece, day in zip(pieces, days, strict=True)]


@pytest.mark.slow
@harness.examples(0.4, at_least=6)
@given(arrival=arrivals())
def test_a_firm_in_shuffled_pieces_with_a_run_after_each_ends_where_loading_at_once_ends(connection, arrival):
    firm, pieces = arrival
    want = at_once(connection, firm)
    harness.wipe(connection)
    for piece, as_of in pieces:
        harness.receive(connection, piece)
        if has_feed(connection):
            harness.run(connection, as_of)
    harness.run(connection)
    got = told(connection)
    for part, rows in want.items():
        assert got[part] == rows, part


@harness.examples(0.2, at_least=3)
@given(firm=firms.firms())
def test_loading_everything_twice_changes_nothing_and_the_second_run_writes_no_version(connection, firm):
    want = at_once(connection, firm)
    loaded = harness.receive(connection, firm)
    assert [(count.new, count.superseded, count.withdrawn) for count in loaded.counts] == [(0, 0, 0)] * len(firm)
    run = harness.run(connection)
    assert (run.findings_opened, run.findings_changed, run.findings_closed) == (0, 0, 0)
    assert told(connection) == want
