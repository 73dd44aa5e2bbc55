"""Every rule and every step by example: given these rows, expect that.

tests/cases/<folder>/<rule>.toml holds the examples of the view <folder>.<rule>:

    [[case]]
    name = "hours past the monthly cap are worth nothing"
    as_of = 2026-03-31                    # may be left out
    given.contracts = [{ cap_minutes = 600, cap_period = "month" }]
    given.time_logs = [
        { time_log_id = "L-1", hours = 9 },
        { time_log_id = "L-2", hours = 2 },
    ]
    expect = [
        { time_log_id = "L-1", payable_seconds = 32400 },
        { time_log_id = "L-2", payable_seconds = 3600 },
    ]

`expect` lists every row the view says about the case, in any order, `expect = []` that it says none. Only the columns
it names are compared. It may name the view's own columns, the cells of the row that the view speaks of, `key` (the
key as quarantine shows it), `currency` (the contract's), and in place of any `..._minor` the amount in that currency
(amount_minor is `amount`, expected_minor `expected_amount`, and so on). `""` is a blank cell, in both directions.

What a case does not care about, it leaves out:

| data set      | where left out altogether  | cells a row has anyway                                          |
|---------------|----------------------------|-----------------------------------------------------------------|
| contracts     | one row                    | contract C-1 of client Acme, in EUR, from 2026-01-01            |
| projects      | one row for each contract  | project P-1 under contract C-1                                  |
| rates         | one row for each contract  | 100.00 an hour under contract C-1, from 2020-01-01              |
| time_logs     | none                       | log L-1 on project P-1 by ana, on 2026-03-02 (a Monday), 1 hour |
| invoices      | one row if there are lines | invoice INV-1 to contract C-1, in EUR, issued on 2026-03-31     |
| invoice_lines | none                       | on invoice INV-1, numbered by place, 100.00, without hours      |

A row may also say `source`, the name of the source it comes from. The alert threshold is 1500.00, for JPY 200000.

All cases of one date are computed together, each under ids of its own: what one firm does is nothing to another.
"""

import datetime as dt
import json
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest

from abr import loading
from abr.settings import Thresholds
from tests import harness

FOLDER = Path(__file__).parent / "cases"
SQL = Path(__file__).parent.parent / "sql"
RULE_FOLDERS = ("quarantine_rules", "reference_rules", "coverage_rules", "finding_rules")
STEP_FOLDERS = ("matching", "pricing", "billing")
# Its rows name no contract, so its cases cannot be told apart and are computed one by one.
SUMMED_OVER_CONTRACTS = ("report.leakage_aging",)
THRESHOLDS = Thresholds(Decimal("1500.00"), {"JPY": Decimal(200000)})
DEFAULTS = {
    "contracts": {"contract_id": "C-1", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"},
    "projects": {"project_id": "P-1", "contract_id": "C-1"},
    "rates": {"contract_id": "C-1", "hourly_rate": "100.00", "valid_from": "2020-01-01"},
    "time_logs": {"time_log_id": "L-1", "project_id": "P-1", "person": "ana", "worked_on": "2026-03-02"},
    "invoices": {
        "invoice_id": "INV-1",
        "contract_id": "C-1",
        "currency": "EUR",
        "issued_on": "2026-03-31",
        "status": "issued",
    },
    "invoice_lines": {"invoice_id": "INV-1", "net_amount": "100.00"},
}
KEYS = {
    "contracts": ("contract_id",),
    "projects": ("project_id", "contract_id"),
    "rates": ("contract_id", "project_id", "person", "role", "task", "valid_from"),
    "time_logs": ("time_log_id",),
    "invoices": ("invoice_id",),
    "invoice_lines": ("invoice_id", "line_no"),
}


@dataclass(frozen=True)
class Case:
    """One example. `mark` stands before every id of its rows and tells them from those of other cases."""

    view: str
    name: str
    as_of: dt.date
    given: dict[str, list[dict[str, object]]]
    expect: list[dict[str, object]]
    mark: str

    @property
    def group(self):
        return (self.as_of, self.mark if self.view in SUMMED_OVER_CONTRACTS else "")


def read_cases():
    cases = []
    for path in sorted(FOLDER.glob("*/*.toml")):
        for case in tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)["case"]:
            case.setdefault("as_of", harness.AS_OF)
            case.setdefault("given", {})
            cases.append(Case(f"{path.parent.name}.{path.stem}", mark=f"<{len(cases) + 1:03}>", **case))
    return cases


CASES = read_cases()


def text_of(value):
    """Return a cell as a file holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def rows_of(case):
    """Return all rows of a case by data set: what it gives, completed, under its own ids."""
    given = {dataset: list(rows) for dataset, rows in case.given.items()}
    contracts = given.setdefault("contracts", [{}])
    contract_ids = dict.fromkeys(row.get("contract_id", "C-1") for row in contracts)
    for dataset in ("projects", "rates"):
        given.setdefault(dataset, [{"contract_id": contract_id} for contract_id in contract_ids])
    if given.get("invoice_lines"):
        given.setdefault("invoices", [{}])
    completed = {}
    for dataset, rows in given.items():
        completed[dataset] = []
        for place, row in enumerate(rows, 1):
            full = DEFAULTS[dataset] | ({"line_no": str(place)} if dataset == "invoice_lines" else {})
            if dataset == "time_logs" and not row.keys() & set(loading.DURATION_CELLS):
                full |= {"hours": "1"}
            full |= {cell: text_of(value) for cell, value in row.items()}
            marked = {
                cell: case.mark + value if value.strip() and (cell.endswith("_id") or cell == "client") else value
                for cell, value in full.items()
            }
            assert case.mark in str(marked), (
                f"{case.view}: {case.name}: give this row an id, so that it is known: {row}"
            )
            completed[dataset].append(marked)
    return completed


def receive(connection, cases):
    """Load the rows of all these cases, source by source."""
    sources = {}
    for case in cases:
        for dataset, rows in rows_of(case).items():
            for row in rows:
                source = row.pop("source", "canonical")
                sources.setdefault(source, {}).setdefault(dataset, []).append(row)
    for source, rows in sources.items():
        harness.receive(connection, rows, source=source)


def key_of(dataset, received):
    odd = json.loads(received["odd_cells"] or "{}")
    parts = (odd.get(cell, "") if received[cell] is None else str(received[cell]) for cell in KEYS[dataset])
    return "/".join(parts)


def told(connection, view):
    """Return the rows of a view, each with the cells of the row it speaks of, its key, and amounts for minor units."""
    received = {
        dataset: {row["row_id"]: row for row in harness.rows(connection, f"select * from source.{dataset}")}
        for dataset in loading.DATASETS
    }
    contracts = {row["contract_id"]: row for row in harness.rows(connection, "select * from temp.contract")}
    rows = []
    for row in harness.rows(connection, f"select * from {view.replace('work.', 'temp.')}"):
        dataset = row.get("dataset", "time_logs")
        about = received[dataset].get(row.get("row_id"), {})
        contract = contracts.get(row.get("contract_id"), {})
        key = {"key": key_of(dataset, about)} if about else {}
        currency = {"currency": contract.get("currency")}
        amounts = {
            {"amount_minor": "amount"}.get(name, name.replace("_minor", "_amount")): (
                None if value is None else value * contract["minor_unit"]
            )
            for name, value in row.items()
            if name.endswith("_minor")
        }
        rows.append(currency | about | key | amounts | row)
    return rows


@pytest.fixture(scope="module")
def answers():
    """Return what its view says about each case, by the case's mark."""
    found = {}
    with harness.fresh_database() as connection:
        for (as_of, mark), group in groupby(sorted(CASES, key=lambda case: case.group), key=lambda case: case.group):
            cases = list(group)
            harness.wipe(connection)
            receive(connection, cases)
            harness.run(connection, as_of, THRESHOLDS, keeps_work_tables=True)
            for view in {case.view for case in cases}:
                rows = told(connection, view)
                for case in cases:
                    if case.view == view:
                        found[case.mark] = [row for row in rows if mark or case.mark in str(row)]
    return found


def plain(value, mark=""):
    """Return a value as text, one number one text however many decimals it came with, and blank as `""`."""
    if value is None:
        return ""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return format(Decimal(value).normalize() + 0, "f")
    return str(value).replace(mark, "") if mark else str(value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.view.replace('.', '/')}: {case.name}")
def test_the_view_says_what_the_case_expects_and_nothing_else(answers, case):
    rows = answers[case.mark]
    if not case.expect:
        assert [{name: plain(value, case.mark) for name, value in row.items()} for row in rows] == []
        return
    columns = list(case.expect[0])
    got = [{name: plain(row[name], case.mark) for name in columns} for row in rows]
    want = [{name: plain(value) for name, value in row.items()} for row in case.expect]
    assert sorted(got, key=str) == sorted(want, key=str)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.view.replace('.', '/')}: {case.name}")
def test_a_case_is_written_with_names_that_exist_and_the_same_columns_in_every_row_it_expects(case):
    for dataset, rows in case.given.items():
        known = {*loading.cells_of(dataset), "source"}
        assert [name for row in rows for name in row if name not in known] == []
    assert [list(row) for row in case.expect] == [list(case.expect[0])] * len(case.expect) if case.expect else True


def test_no_two_cases_of_a_view_have_one_name():
    names = [(case.view, case.name) for case in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "view", [f"{folder}.{path.stem}" for folder in RULE_FOLDERS for path in sorted((SQL / folder).glob("*.sql"))]
)
def test_every_rule_has_an_example_of_what_it_finds_and_one_of_what_it_lets_pass(view):
    kinds = {bool(case.expect) for case in CASES if case.view == view}
    assert kinds == {True, False}, f"write both into tests/cases/{view.replace('.', '/')}.toml"


@pytest.mark.parametrize(
    "view", [f"{folder}.{path.stem}" for folder in STEP_FOLDERS for path in sorted((SQL / folder).glob("*.sql"))]
)
def test_every_step_has_an_example(view):
    assert any(case.expect for case in CASES if case.view == view), f"write tests/cases/{view.replace('.', '/')}.toml"


def test_every_case_file_belongs_to_a_view():
    views = {path.relative_to(SQL).with_suffix("") for path in SQL.glob("*/*.sql")}
    files = {path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*") if path.is_file()}
    assert files - views == set()
