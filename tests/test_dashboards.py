"""The Superset bundle: whole, the same each time, true to the report views, without a secret. Needs no Superset."""

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from abr import dashboards, views
from tests import command_line, harness
from tests.command_line import abr

ROOT = Path(__file__).parent.parent
COPY = "duckdb:////srv/abr.duckdb.published/current/abr_audit.duckdb"
MIRROR = "postgresql+psycopg://abr:se%40cret@db.example.com:5433/finance?sslmode=require"
# What a dataset says of a column, by the type the view has.
SAID_AS = {"DATE": "DATE", "TIMESTAMP": "TIMESTAMP", "BOOLEAN": "BOOLEAN", "BIGINT": "BIGINT", "VARCHAR": "VARCHAR"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return command_line.clean_environment(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def connection():
    with harness.fresh_database() as opened:
        yield opened


def contents(bundle: bytes) -> dict[str, object]:
    """Return what each file of a bundle says, by its name below the root folder."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert archive.testzip() is None
        return {name.partition("/")[2]: yaml.safe_load(archive.read(name)) for name in archive.namelist()}


BUNDLES = {"copy": contents(dashboards.bundle(COPY)), "mirror": contents(dashboards.bundle(MIRROR))}


def kind(files, of):
    return {name: file for name, file in files.items() if name.startswith(f"{of}/")}


@pytest.fixture(params=BUNDLES)
def files(request):
    return BUNDLES[request.param]


# ---- whole ----------------------------------------------------------------------------------------------------------


def test_a_bundle_has_every_file_the_importer_looks_for(files):
    assert files["metadata.yaml"]["version"] == "1.0.0"
    assert "type" not in files["metadata.yaml"]  # else only one of Superset's two importers takes it
    assert set(kind(files, "databases")) == {"databases/ABR.yaml"}
    assert len(kind(files, "dashboards")) == 1
    assert all(file["version"] == "1.0.0" for file in files.values())
    assert len(files) == 3 + len(kind(files, "datasets")) + len(kind(files, "charts"))


def test_nothing_is_left_to_fill_in(files):
    assert "${" not in json.dumps(files, default=str)


def test_every_id_occurs_once_and_every_reference_leads_to_one(files):
    ids = [file["uuid"] for name, file in files.items() if name != "metadata.yaml"]
    assert len(set(ids)) == len(ids)
    database = files["databases/ABR.yaml"]["uuid"]
    datasets = {file["uuid"] for file in kind(files, "datasets").values()}
    assert {file["database_uuid"] for file in kind(files, "datasets").values()} == {database}
    assert {chart["dataset_uuid"] for chart in kind(files, "charts").values()} == datasets
    (dashboard,) = kind(files, "dashboards").values()
    shown = [box["meta"]["uuid"] for box in dashboard["position"].values() if box_is_chart(box)]
    assert sorted(shown) == sorted(chart["uuid"] for chart in kind(files, "charts").values())


def box_is_chart(box):
    return isinstance(box, dict) and box["type"] == "CHART"


def test_the_two_flavours_share_no_id():
    ids = [{file["uuid"] for file in files.values() if "uuid" in file} for files in BUNDLES.values()]
    assert not ids[0] & ids[1]
    slugs = {file["slug"] for files in BUNDLES.values() for file in kind(files, "dashboards").values()}
    assert len(slugs) == 2


def test_the_same_question_gives_the_same_bytes():
    script = f"import sys; from abr import dashboards; sys.stdout.buffer.write(dashboards.bundle({COPY!r}))"
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert elsewhere.stdout == dashboards.bundle(COPY)


# ---- true to the views ----------------------------------------------------------------------------------------------


def test_every_dataset_has_the_columns_and_types_of_its_view(files, connection):
    schema = {"duckdb": "report", "postgresql": "abr"}[files["databases/ABR.yaml"]["sqlalchemy_uri"].partition(":")[0]]
    for dataset in kind(files, "datasets").values():
        assert dataset["schema"] == schema
        described = harness.rows(connection, f"describe report.{dataset['table_name']}")
        kinds = {row["column_name"]: row["column_type"] for row in described}
        stored = {column["column_name"]: column for column in dataset["columns"] if not column["expression"]}
        said = {name: column["type"] for name, column in stored.items()}
        assert said == {name: SAID_AS.get(kind, kind.replace(",", ", ")) for name, kind in kinds.items()}, dataset
        assert {name for name, column in stored.items() if column["is_dttm"]} == {
            name for name, kind in kinds.items() if kind in ("DATE", "TIMESTAMP")
        }
        assert dataset["main_dttm_col"] in {None, *kinds}


def test_every_expression_of_a_dataset_is_understood_by_the_database(files, connection):
    for dataset in kind(files, "datasets").values():
        view = f"report.{dataset['table_name']}"
        for column in dataset["columns"]:
            if column["expression"]:
                harness.rows(connection, f"select {column['expression']} from {view}")
        for metric in dataset["metrics"]:
            (row,) = harness.rows(connection, f"select {metric['expression']} as value from {view}")
            assert row.keys() == {"value"}


def test_every_chart_asks_for_columns_and_metrics_its_dataset_has(files):
    datasets = {file["uuid"]: file for file in kind(files, "datasets").values()}
    for name, chart in kind(files, "charts").items():
        dataset = datasets[chart["dataset_uuid"]]
        columns = {column["column_name"] for column in dataset["columns"]}
        metrics = {metric["metric_name"] for metric in dataset["metrics"]}
        params = chart["params"]
        dimensions = [*params.get("all_columns", []), *params.get("groupby", [])]
        dimensions += [params["x_axis"]] if "x_axis" in params else []
        measures = params.get("metrics", []) + ([params["metric"]] if "metric" in params else [])
        assert set(dimensions) <= columns, name
        assert set(measures) <= metrics, name
        assert dimensions or measures, name
        filtered = {condition["subject"] for condition in params["adhoc_filters"]}
        ordered = {json.loads(order)[0] for order in params.get("order_by_cols", [])}
        assert filtered | ordered <= columns, name
        assert {params.get("timeseries_limit_metric", measures[0] if measures else None)} <= metrics | {None}, name
        assert set(params.get("column_config", {})) <= {*dimensions, *measures}, name
        assert {rule["column"] for rule in params.get("conditional_formatting", [])} <= {*dimensions, *measures}, name
        # What alerts and the REST API ask is what the browser asks.
        (query,) = json.loads(chart["query_context"])["queries"]
        asked = [column if isinstance(column, str) else column["sqlExpression"] for column in query["columns"]]
        assert sorted(asked) == sorted(dimensions), name
        assert query["metrics"] == measures, name
        assert {condition["col"] for condition in query["filters"]} == filtered, name
        assert {order for order, _ in query["orderby"]} <= columns | metrics, name
        assert query["row_limit"] == params.get("row_limit", query["row_limit"]), name


def test_every_filter_of_the_dashboard_is_of_a_column_and_reaches_a_chart_that_has_it(files):
    datasets = {file["uuid"]: file for file in kind(files, "datasets").values()}
    charts = {file["uuid"]: file for file in kind(files, "charts").values()}
    (dashboard,) = kind(files, "dashboards").values()
    boxes = [box["meta"] for box in dashboard["position"].values() if box_is_chart(box)]
    placed = {box["chartId"]: charts[box["uuid"]] for box in boxes}
    filters = dashboard["metadata"]["native_filter_configuration"]
    assert [filter_["name"] for filter_ in filters] == ["Currency", "Client", "Side", "Class"]
    for filter_ in filters:
        ((target,), column) = filter_["targets"], filter_["targets"][0]["column"]["name"]
        assert column in {known["column_name"] for known in datasets[target["datasetUuid"]]["columns"]}
        reached = placed.keys() - set(filter_["scope"]["excluded"])
        assert reached
        for chart in reached:
            known = {known["column_name"] for known in datasets[placed[chart]["dataset_uuid"]]["columns"]}
            assert column in known, (filter_["name"], placed[chart]["slice_name"])


def test_amounts_of_different_currencies_are_never_added(files, connection):
    """Every sum of money is blank while its rows are of two currencies, and exact while they are of one."""
    money = 0
    for dataset in kind(files, "datasets").values():
        columns = {column["column_name"]: column["type"] for column in dataset["columns"]}
        amounts = [name for name in columns if name.endswith("amount")]
        for metric in dataset["metrics"]:
            if not any(re.search(rf"\b{amount}\b", metric["expression"]) for amount in amounts):
                continue
            money += 1
            blank = [f"null::{kind} as {name}" for name, kind in columns.items() if name not in (*amounts, "currency")]
            cells = ", ".join([*blank, "'EUR' as currency"])
            values = ", ".join(f"7::{columns[name]} as {name}" for name in amounts)
            one = f"select {cells}, {values}"
            two = f"{one} union all by name select * replace ('JPY' as currency) from ({one})"
            unknown = -99_999_999_999_999 if metric["metric_name"].endswith("_or_last") else None  # only sorted by
            for rows, expected in ((one, 7), (two, unknown)):
                (row,) = harness.rows(connection, f"select {metric['expression']} as total from ({rows})")
                assert row["total"] == expected, (dataset["table_name"], metric["metric_name"])
    assert money >= 9


def test_what_has_no_amount_comes_last_also_where_the_database_puts_what_is_unknown_first(files, connection):
    datasets = {file["uuid"]: file for file in kind(files, "datasets").values()}
    seen = set()
    for name, chart in kind(files, "charts").items():
        dataset = datasets[chart["dataset_uuid"]]
        expressions = {metric["metric_name"]: metric["expression"] for metric in dataset["metrics"]}
        expressions |= {column["column_name"]: column["expression"] for column in dataset["columns"]}
        (query,) = json.loads(chart["query_context"])["queries"]
        for ordered, _ in query["orderby"]:
            expression = expressions[ordered] or ordered
            if "amount" not in expression or dataset["table_name"] not in ("finding", "leakage_by_client"):
                continue  # of contracts and of projects every amount is known
            column = "leakage_amount" if dataset["table_name"] == "leakage_by_client" else "amount"
            rows = f"select null::decimal(18, 4) as {column}, unnest(['EUR', 'JPY']) as currency"
            assert all(
                row["key"] is not None for row in harness.rows(connection, f"select {expression} as key from ({rows})")
            )
            seen.add(name.rpartition("/")[2])
    assert seen == {"finding_logs.yaml", "findings_by_class.yaml", "leakage_by_client.yaml"}


# ---- where the data is ----------------------------------------------------------------------------------------------


def uri_in(path: Path) -> str:
    return contents(path.read_bytes())["databases/ABR.yaml"]["sqlalchemy_uri"]


def test_the_bundle_is_for_the_published_copy_and_read_only(folder):
    ended = abr("bi", "superset", "--out", "abr.zip", "--database", "books.duckdb")
    assert (ended.code, ended.out) == (0, "abr.zip\n")
    assert "nothing is published at" in ended.err
    copy = folder / "books.duckdb.published" / "current" / "abr_audit.duckdb"
    assert uri_in(folder / "abr.zip") == f"duckdb:///{copy}?access_mode=read_only"


def test_a_uri_of_a_copy_is_made_read_only():
    assert BUNDLES["copy"]["databases/ABR.yaml"]["sqlalchemy_uri"] == f"{COPY}?access_mode=read_only"


def test_no_password_gets_into_a_bundle():
    secret = "postgresql+psycopg2://abr:se%40cret@db.example.com/finance?password=hush"
    bundle = dashboards.bundle(secret)
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert "se%40cret" not in text
    assert "se@cret" not in text
    assert "hush" not in text
    # Superset's own word for a password to be asked for, and its own driver.
    uri = BUNDLES["mirror"]["databases/ABR.yaml"]["sqlalchemy_uri"]
    assert uri == "postgresql://abr:XXXXXXXXXX@db.example.com:5433/finance?sslmode=require"


def test_a_bundle_for_the_mirror_is_for_someone_who_reads_it():
    writer = "postgresql+psycopg://abr:hush@db.example.com/finance"
    assert dashboards.mirror_uri(writer, "bi") == "postgresql+psycopg://bi@db.example.com/finance"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("mysql://a@b/c", "is for mysql"),
        ("duckdb:///relative.duckdb", "names no absolute path"),
        ("duckdb://", "names no absolute path"),
        ("postgresql://abr:hush@db.example.com", "names no database"),
        ("hush", "cannot be read"),
        ("postgresql://abr:hush@db.example.com:port/finance", "cannot be read"),
    ],
)
def test_a_uri_that_leads_nowhere_is_refused_in_one_line_and_not_quoted(uri, said):
    ended = abr("bi", "superset", "--out", "abr.zip", "--sqlalchemy-uri", uri)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "hush" not in ended.err
    assert not Path("abr.zip").exists()


def test_a_file_that_is_there_is_replaced_only_with_force(folder):
    (folder / "abr.zip").write_text("mine")
    ended = abr("bi", "superset", "--out", "abr.zip", "--sqlalchemy-uri", COPY)
    assert (ended.code, ended.out) == (2, "")
    assert "abr.zip exists already" in ended.err
    assert (folder / "abr.zip").read_text() == "mine"
    assert abr("bi", "superset", "--out", "abr.zip", "--sqlalchemy-uri", COPY, "--force").code == 0
    assert (folder / "abr.zip").read_bytes() == dashboards.bundle(COPY)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "missing/abr.zip"), "cannot be written"),
        (("--out", ".", "--force"), "is a folder"),
        (("--out", "abr.zip", "--mirror"), "no mirror is set"),
        (("--out", "abr.zip", "--mirror", "--sqlalchemy-uri", COPY), "both say where the data is"),
        (("--out", "abr.zip", "--database", "duckdb:///:memory:"), "is not published"),
        (("--out", "abr.zip", "--database", "odd\x07name.duckdb"), "cannot stand in a database URI"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(folder, arguments, said):
    ended = abr("bi", "superset", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert list(folder.glob("*abr.zip*")) == []


# ---- package data ---------------------------------------------------------------------------------------------------


def test_a_wheel_brings_the_templates(folder):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("abr/superset/") for name in archive.namelist() if name.startswith("abr/superset/")}
    assert packed == {name for name, _ in dashboards.templates()}
    assert packed >= {"metadata.yaml", "databases/ABR.yaml", "dashboards/ABR.yaml"}


def test_a_cross_join_of_a_stored_view_is_seen_as_read():
    assert views.reads('SELECT a.b, c.d FROM audit.finding_open , reconcile."last_run" WHERE 1') == {
        "audit.finding_open",
        "reconcile.last_run",
    }
