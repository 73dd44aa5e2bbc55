"""The synthetic firm: the same from the same seed, every rule and every fault in it, and still believable."""

import functools
import hashlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pytest

from abr import data_simulator
from abr.data_simulator import FirmSize, arrive, build
from tests import reference_model as model
from tests.reference_model import Result, Sources, Store, reconcile

UNTIL = date(2026, 3, 31)
MORNING = datetime(2026, 4, 1, 9, 0)
SEEDS = (1, 2, 3, 2026, 987_654_321)
FACTORS = {"JPY": Decimal("0.0065"), "KWD": Decimal("3.3")}  # rough, to weigh currencies in one picture
CYCLES = 84


def rows_of(connection, tables: dict[str, str]) -> Sources:
    sources = {}
    for dataset, table in tables.items():
        found = connection.execute(f"from {table}")
        columns = [column[0] for column in found.description]
        sources[dataset] = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    return sources


@functools.cache
def firm(seed: int, until: date = UNTIL, size: FirmSize = FirmSize()) -> Sources:  # noqa: B008  frozen
    with duckdb.connect() as connection:
        return rows_of(connection, build(connection, seed=seed, until=until, size=size))


@functools.cache
def answers(seed: int, until: date = UNTIL, size: FirmSize = FirmSize()) -> Result:  # noqa: B008  frozen
    store = Store()
    store.load(firm(seed, until, size))
    return reconcile(store, until)


@functools.cache
def arrivals(seed: int, cycles: int = CYCLES) -> list[Sources]:
    with duckdb.connect() as connection:
        return [
            rows_of(
                connection,
                arrive(
                    connection,
                    seed=seed,
                    until=UNTIL,
                    size=FirmSize(),
                    cycle=cycle,
                    now=MORNING + timedelta(seconds=5 * cycle),
                ),
            )
            for cycle in range(cycles)
        ]


def books(seed: int) -> Sources:
    return {dataset: firm(seed)[dataset] for dataset in ("contracts", "projects", "rates")}


def total(result: Result, name: str) -> Decimal:
    return sum(
        (position[name] * FACTORS.get(position["currency"], 1) for position in result.positions.values()), Decimal(0)
    )


def digest(sources: Sources) -> str:
    return hashlib.sha256(repr(sources).encode()).hexdigest()


# --------------------------------------------------------------------------------------------------
# Chance


@pytest.mark.parametrize("threads", [1, 4])
def test_the_same_seed_gives_the_same_rows_in_the_same_order(threads):
    with duckdb.connect(config={"threads": threads}) as connection:
        again = rows_of(connection, build(connection, seed=1, until=UNTIL, size=FirmSize()))
    assert digest(again) == digest(firm(1))


def test_chunks_do_not_show(monkeypatch):
    monkeypatch.setattr(data_simulator, "LOGS_PER_CHUNK", 700)
    with duckdb.connect() as connection:
        chunked = rows_of(connection, build(connection, seed=1, until=UNTIL, size=FirmSize()))
    for dataset, rows in firm(1).items():
        assert sorted(map(repr, chunked[dataset])) == sorted(map(repr, rows)), dataset


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_hold_the_firm_although_only_a_part_of_it_is_ever_in_memory(monkeypatch, tmp_path, suffix):
    monkeypatch.setattr(data_simulator, "LOGS_PER_CHUNK", 700)
    shares = []
    with duckdb.connect() as connection:
        files = data_simulator.write_files(
            connection, tmp_path, suffix=suffix, seed=1, until=UNTIL, size=FirmSize(), tell=shares.append
        )
        read = "read_parquet('{}')" if suffix == ".parquet" else "read_csv('{}', all_varchar = true, nullstr = '')"
        written = rows_of(connection, {path.stem: read.format(path) for path in files})
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for dataset, rows in firm(1).items():
        assert sorted(map(repr, written[dataset])) == sorted(map(repr, rows)), dataset


def test_the_same_seed_gives_the_same_rows_on_every_machine():
    """Changes whenever the simulator does; must not change with the machine or the version of DuckDB."""
    assert digest(firm(1, UNTIL, FirmSize(2_000, 40, 90)))[:16] == "dcbd4534117e0ef6"


def test_another_seed_gives_another_firm():
    assert not {row["time_log_id"] for row in firm(1)["time_logs"]} & {
        row["time_log_id"] for row in firm(2)["time_logs"] if row["time_log_id"]
    }


def test_nothing_is_left_behind_but_the_tables():
    with duckdb.connect() as connection:
        tables = build(connection, seed=1, until=UNTIL, size=FirmSize(200, 40, 30))
        arrive(connection, seed=1, until=UNTIL, size=FirmSize(200, 40, 30), cycle=9, now=MORNING)
        left = connection.execute("select table_name from duckdb_tables()").fetchall()
        macros = connection.execute(
            "select function_name from duckdb_functions() where function_name like 'sim_%' and not internal"
        ).fetchall()
    assert {name for (name,) in left} == set(tables.values())
    assert not macros


# --------------------------------------------------------------------------------------------------
# Shape


def test_columns_are_the_canonical_ones_and_text():
    with duckdb.connect() as connection:
        tables = build(connection, seed=1, until=UNTIL, size=FirmSize(200, 40, 30))
        for dataset, table in tables.items():
            described = connection.execute(f"describe {table}").fetchall()
            assert tuple(column[0] for column in described) == model.COLUMNS[dataset]
            assert {column[1] for column in described} == {"VARCHAR"}


def test_there_are_as_many_logs_and_contracts_as_asked_for():
    size = FirmSize(3_333, 57, 45)
    assert len(firm(4, UNTIL, size)["time_logs"]) == size.logs
    assert len({row["contract_id"] for row in firm(4, UNTIL, size)["contracts"]} - {None}) == size.contracts


@pytest.mark.parametrize("size", [FirmSize(1, 1, 1), FirmSize(0, 0, 0), FirmSize(300, 7, 9), FirmSize(500, 41, 2)])
@pytest.mark.parametrize("until", [UNTIL, date(2026, 1, 1), date(2024, 2, 29)])
def test_small_firms_are_firms_too(size, until):
    sources = firm(5, until, size)
    assert len(sources["time_logs"]) == size.logs
    with duckdb.connect() as connection:
        for cycle in (0, 9, 14, 17):
            arrived = arrive(connection, seed=5, until=until, size=size, cycle=cycle, now=MORNING)
            assert "time_logs" in arrived


def test_no_cell_is_blank_or_holds_a_control_character():
    cells = [cell for rows in firm(1).values() for row in rows for cell in row.values() if cell is not None]
    assert all(cell == cell.strip() and cell and cell.isprintable() for cell in cells)


def test_names_come_from_everywhere():
    clients = {row["client"] for row in firm(1)["contracts"]}
    people = {row["person"] for row in firm(1)["time_logs"]} - {None}
    assert {'Bäcker, Söhne & "Partner" GmbH', "東京デザイン株式会社"} <= clients
    assert len(people) > 20
    assert not all(name.isascii() for name in people)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_term_occurs(seed):
    contracts = firm(seed)["contracts"]
    given = {(column, row[column]) for row in contracts for column in row}
    for column, choices in {
        "billing_model": ("time_and_materials", "fixed_price", None),
        "rounding_mode": ("up", "nearest", "down", None),
        "rounding_unit": ("entry", "day", None),
        "prepaid_period": ("lifetime", "month"),
        "cap_period": ("lifetime", "month", None),
        "grace_from": ("worked_on", "month_end", None),
    }.items():
        assert {(column, choice) for choice in choices} <= given
    filled = {column for row in contracts for column, cell in row.items() if cell}
    assert filled == set(model.COLUMNS["contracts"])
    assert {"EUR", "USD", "GBP", "JPY", "KWD", "CHF"} <= {row["currency"] for row in contracts}
    by_project = Counter(row["project_id"] for row in firm(seed)["projects"] if row["contract_id"])
    assert max(by_project.values()) > 1  # contracts that follow on
    assert {row["kind"] for row in firm(seed)["invoice_lines"]} >= {"time", "expense", "fixed", "prepaid", "other"}
    assert {row["status"] for row in firm(seed)["invoices"]} >= {"draft", "issued", "paid", "void"}
    for column in ("project_id", "person", "role", "task", "valid_to"):
        assert any(row[column] for row in firm(seed)["rates"])
    for column in ("seconds", "minutes", "hours", "duration"):
        assert any(row[column] for row in firm(seed)["time_logs"])
        assert any(row[column] for row in firm(seed)["invoice_lines"])


# --------------------------------------------------------------------------------------------------
# What the rules say about it


@pytest.mark.parametrize("seed", SEEDS)
def test_every_reason_and_every_finding_class_occurs(seed):
    result = answers(seed)
    assert {(dataset, reason) for dataset, _, reason in result.quarantine} == model.QUARANTINE_REASONS
    assert {name for _, name, _ in result.findings} == model.FINDING_CLASSES


@pytest.mark.parametrize(
    ("until", "size"),
    [
        (date(2026, 1, 1), FirmSize()),
        (date(2024, 2, 29), FirmSize()),
        (date(2026, 11, 15), FirmSize(8_000, 90, 200)),
        (UNTIL, FirmSize(6_000, 40, 365)),
    ],
)
def test_every_reason_and_every_finding_class_occurs_on_other_days_and_in_larger_firms(until, size):
    result = answers(11, until, size)
    assert {(dataset, reason) for dataset, _, reason in result.quarantine} == model.QUARANTINE_REASONS
    assert {name for _, name, _ in result.findings} == model.FINDING_CLASSES


@pytest.mark.parametrize("seed", SEEDS)
def test_the_firm_is_mostly_healthy(seed):
    result = answers(seed)
    severities = Counter(position["severity"] for position in result.positions.values())
    assert 2 <= severities["critical"] <= 8
    assert 1 <= severities["watch"] <= 8
    assert severities["ok"] >= 25
    expected = total(result, "expected_amount")
    leakage = total(result, "leakage_amount")
    assert Decimal("0.005") < leakage / expected < Decimal("0.05")
    assert total(result, "overbilled_amount") < leakage
    assert total(result, "billed_amount") / expected > Decimal("0.85")
    assert result.counts["quarantined"] < result.counts["received"] * 5 // 100
    assert result.counts["eligible"] > result.counts["received"] * 70 // 100


def test_about_half_of_what_is_billed_is_billed_through_pools():
    direct = pooled = 0
    for seed in SEEDS:
        billed_directly = {row["time_log_id"] for row in firm(seed)["invoice_lines"]}
        for log_id, (_, one) in answers(seed).eligible.items():
            if log_id in billed_directly:
                direct += 1
            elif one.billed_seconds:
                pooled += 1
    assert 0.3 < direct / (direct + pooled) < 0.7


# --------------------------------------------------------------------------------------------------
# What arrives


@pytest.mark.slow
def test_arrivals_are_the_same_again():
    with duckdb.connect() as connection:
        for cycle in (0, 7, 9, 11, 14, 17, 53):
            now = (MORNING + timedelta(seconds=5 * cycle)).replace(tzinfo=UTC)
            tables = arrive(connection, seed=3, until=UNTIL, size=FirmSize(), cycle=cycle, now=now)
            assert rows_of(connection, tables) == arrivals(3)[cycle]


def test_a_handful_of_logs_arrives_each_cycle_and_empty_data_sets_do_not():
    for sources in arrivals(3):
        assert all(sources.values())
        assert set(sources) <= {"time_logs", "invoices", "invoice_lines"}
        assert 3 <= len(sources["time_logs"]) <= 20


@pytest.mark.parametrize(("seed", "cycles"), [(3, CYCLES), pytest.param(2026, 200, marks=pytest.mark.slow)])
def test_every_reason_of_a_log_arrives_in_time(seed, cycles):
    seen = set()
    for first in range(0, cycles, 4):
        store = Store()
        logs = [row for sources in arrivals(seed, cycles)[first : first + 4] for row in sources["time_logs"]]
        store.load({**books(seed), "time_logs": logs})
        seen |= {reason for dataset, _, reason in reconcile(store, MORNING.date()).quarantine if dataset == "time_logs"}
    assert seen == {reason for dataset, reason in model.QUARANTINE_REASONS if dataset == "time_logs"}


def test_faulty_logs_come_again_corrected_under_their_own_id():
    store = Store()
    store.load(books(3))
    faulty = set()
    corrected = 0
    for sources in arrivals(3)[:60]:
        store.load({"time_logs": sources["time_logs"]})
        ids = {row["time_log_id"] for row in sources["time_logs"]}
        quarantined = {key for dataset, key, _ in reconcile(store, MORNING.date()).quarantine if dataset == "time_logs"}
        corrected += len((faulty & ids) - quarantined)
        faulty |= quarantined & ids
    assert corrected >= 20


def test_invoices_that_arrive_are_put_right_by_later_rows():
    versions: dict[str, list[tuple[str, str]]] = {}
    for sources in arrivals(3):
        for row in sources.get("invoices", []):
            versions.setdefault(row["invoice_id"], []).append((row["currency"], row["status"]))
    statuses = {tuple(status for _, status in rows) for rows in versions.values()}
    assert {("issued",), ("draft", "issued"), ("issued", "void", "issued")} <= statuses
    assert any(rows[0][0] == "EURO" and rows[1][0] != "EURO" for rows in versions.values() if len(rows) > 1)


def test_new_logs_and_invoices_belong_to_the_firm():
    contracts = {row["contract_id"] for row in firm(3)["contracts"]}
    projects = {row["project_id"] for row in firm(3)["projects"]}
    known = arrived = 0
    for sources in arrivals(3):
        assert {row["contract_id"] for row in sources.get("invoices", [])} <= contracts
        known += sum(row["project_id"] in projects for row in sources["time_logs"])
        arrived += len(sources["time_logs"])
    assert known > arrived * 0.95
    ids = {row["time_log_id"] for sources in arrivals(3) for row in sources["time_logs"]}
    assert not ids & {row["time_log_id"] for row in firm(3)["time_logs"] if row["time_log_id"]}


def test_what_was_forgotten_is_invoiced_in_the_end():
    cycle = data_simulator.CYCLES_PER_STRETCH + data_simulator.FORGOTTEN_AT
    sources = arrivals(3)[cycle]
    (invoice,) = sources["invoices"]
    store = Store()
    store.load(firm(3))
    before = reconcile(store, MORNING.date()).positions[invoice["contract_id"]]
    store.load({name: sources[name] for name in ("invoices", "invoice_lines")})
    after = reconcile(store, MORNING.date()).positions[invoice["contract_id"]]
    assert before["is_flagged"]
    assert after["leakage_amount"] < before["leakage_amount"] / 2
