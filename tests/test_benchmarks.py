"""The benchmark command, end to end on a firm that is far too small to say anything about speed."""

import io
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tests import command_line
from tests.benchmarks import bench_publishing, report

ROOT = Path(__file__).parents[1]


def benchmarks(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *map(str, arguments)],
        cwd=ROOT,
        env=command_line.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_scale_benchmark_measures_a_small_firm_and_keeps_what_it_built(tmp_path):
    words = ("scale", "--logs", "2e4", "--cycles", 2, "--folder", tmp_path / "kept", "--out", tmp_path / "seen")
    ended = benchmarks(*words)
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "seen.json", "seen.svg"]
    kept = tmp_path / "kept" / "20000"
    assert sorted(path.name for path in kept.iterdir()) == ["abr.duckdb", "books", "built.json", "measured.json"]
    for figure in report.FIGURES:
        assert figure.title in ended.stdout
    assert "abr verify: " in ended.stderr
    told = json.loads((tmp_path / "seen.json").read_text("utf-8"))
    (raw,) = told["raw"]
    assert len(raw["cycles"]["steady"]["published_ms"]) == 2
    assert raw["verify"]["difference_count"] == 0
    assert all(one["value"] is not None for one in told["figures"] if "growth" not in one["title"])
    assert ET.parse(tmp_path / "seen.svg").getroot().tag.endswith("svg")


def test_the_benchmark_of_publishing_writes_what_the_tables_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_publishing, "CHANGED", 10)
    monkeypatch.setattr(bench_publishing, "ROUNDS", 2)
    taken, worked = bench_publishing.costs_ms(tmp_path, 1_000)
    assert len(taken) == len(worked) == 2
    opened = command_line.query(
        tmp_path / "abr.duckdb", "select count(*), count(distinct time_log_id) from report.finding"
    )
    assert opened == [(1_000, 1_000)]


def test_a_target_is_judged_only_where_there_is_one_and_a_rival_that_does_not_fit_is_beaten():
    def at(logs, ms, polars):
        kind = {"alone_ms": [ms], "published_ms": [ms], "processor_ms": [ms], "tidied_ms": [ms], "peak_bytes": 1}
        one = {"seconds": 1.0, "peak_bytes": 1, "rows": 1}
        return {
            "logs": logs,
            "built": {"simulate": one, "load": one, "first_run": one, "database_bytes": logs},
            "cycles": {"steady": kind, "burst": kind, "nothing": kind},
            "limited": kind,
            "everything": one,
            "views": one,
            "polars": polars and {"ms": [polars]},
            "inbox": {"seconds": [0.5]},
            "verify": {"difference_count": 0, "seconds": 1.0},
        }

    found = report.judged([at(1_000_000, 50.0, 80.0), at(10_000_000, 110.0, 440.0), at(100_000_000, 140.0, None)])
    judged = {(one.title, one.logs): (one.value, one.is_met) for one in found if not one.title.startswith("  growth")}
    steady, rival = "20 new logs in 10 contracts, published, p95", "  times the p95 of 20 new logs"
    assert [judged[steady, logs][1] for logs in (1_000_000, 10_000_000, 100_000_000)] == [True, False, True]
    assert [judged[rival, logs] for logs in (1_000_000, 10_000_000, 100_000_000)] == [
        (1.6, None),
        (4.0, False),
        (None, True),
    ]
    growths = [one for one in found if one.title.startswith("  growth")]
    assert [(one.value and round(one.value, 2), one.is_met) for one in growths[:3]] == [
        (None, None),
        (2.2, False),
        (1.27, True),
    ]
    printed = io.StringIO()
    Console(file=printed, width=200).print(report.table(found))
    assert ">= 30 does not fit in memory" in printed.getvalue()
    assert "<= 100 MISS" in printed.getvalue()


@pytest.mark.parametrize("words", [("--help",), ("scale", "--help"), ("speed", "--help")])
def test_its_help_shows_what_to_type(words):
    ended = benchmarks(*words)
    assert ended.returncode == 0
    assert (words[0] if len(words) == 2 else "scale") in ended.stdout
    assert words[0] != "scale" or "python -m tests.benchmarks scale --logs 1e6 1e7 1e8" in ended.stdout
