"""Benchmarks anyone can run: python -m tests.benchmarks --help

The table goes to stdout, progress to stderr; the exit code is 1 where `abr verify` finds a difference. A missed target
is said and is no failure: machines are noisy.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from abr.__main__ import start_tuned
from tests import command_line
from tests.benchmarks import bench_speed, report, scale

SIZES = (1_000_000, 10_000_000, 100_000_000)
CYCLES = 40
EXAMPLE = """\
example:
  python -m tests.benchmarks scale --logs 1e6 1e7 1e8 --folder /data/abr-scale

A million logs take some minutes, ten million about ten times as long. A hundred million need some 70 GB of disk.
"""


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "scale",
        help="measure ABR at one million, ten million and a hundred million logs",
        description="Build firms of these sizes and measure loading, every kind of cycle, memory, disk and the inbox.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--logs", nargs="+", type=_count, default=SIZES, metavar="N", help="sizes, such as 1e6 (default: 1e6 1e7 1e8)"
    )
    command.add_argument(
        "--folder", type=Path, help="keep data and databases here, and use what is there (default: a temporary one)"
    )
    command.add_argument(
        "--cycles", type=int, default=CYCLES, metavar="N", help=f"cycles of each kind (default: {CYCLES})"
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark-scale"),
        metavar="NAME",
        help="write NAME.svg and NAME.json (default: benchmark-scale)",
    )
    command.set_defaults(run=_scale)
    command = commands.add_parser(
        "speed",
        help="measure the main job at a million logs, in about two minutes",
        description="Measure simulating, loading and every kind of cycle with tests/benchmarks/bench_speed.py.",
        epilog="ABR_BENCHMARK_LOGS sets another size.",
    )
    command.set_defaults(run=lambda _: int(pytest.main(["-n", "0", bench_speed.__file__])))
    arguments = parser.parse_args()
    code: int = arguments.run(arguments)
    return code


def _scale(arguments: argparse.Namespace) -> int:
    folder = nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory(prefix="abr-scale-")
    with folder as path:
        return run_scale(Path(path).resolve(), sorted(set(arguments.logs)), arguments.cycles, arguments.out)


def _count(text: str) -> int:
    return int(float(text.replace("_", "")))


def run_scale(folder: Path, sizes: Sequence[int], cycles: int, out: Path) -> int:
    """Measure each size, print the table and write chart and numbers; return the exit code."""
    for name in set(os.environ) - set(command_line.environment()):
        del os.environ[name]  # a setting of this user's would be one of the measures
    measures = []
    for logs in sizes:
        measures.append(scale.measured(folder / f"{logs}", logs, cycles=cycles))
        found = report.judged(measures)
        machine = scale.machine()
        # After each size: the next may take hours, or more than there is.
        numbers = {"machine": machine, "figures": [asdict(one) for one in found], "raw": measures}
        out.with_name(f"{out.name}.json").write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")
        caption = (
            f"p95 of {cycles} cycles, written, committed and published, on {machine['processors']} processors; "
            "dashed rings are targets"
        )
        out.with_name(f"{out.name}.svg").write_text(report.chart(found, caption), "utf-8")
    Console(width=None if sys.stdout.isatty() else 200).print(report.table(found))
    return _say_what_else(measures)


def _say_what_else(measures: Sequence[scale.Measures]) -> int:
    """Say what the firms were, and on stderr what makes the numbers worthless; return the exit code."""
    talk = Console(stderr=True, highlight=False)
    code = 0
    for one in measures:
        firm = one["built"]["first_run"]
        print(
            f"{one['logs']:,} logs, {one['built']['simulate']['contracts']:,} contracts: "
            f"{firm['billed_share']:.1%} of {firm['logs_eligible']:,} eligible logs billed, "
            f"{firm['pooled_share']:.0%} of them by pooled lines; "
            f"{firm['capped_or_prepaid_share']:.0%} of the contracts capped or prepaid"
        )
        if not one["built"]["is_of_this_engine"]:
            talk.print(
                f"{one['logs']:,} logs: load and first run were measured when the folder was built, by other code; "
                "remove it to measure them again"
            )
        if one["verify"]["difference_count"]:
            code = 1
            talk.print(f"{one['logs']:,} logs: abr verify found {one['verify']['difference_count']:,} differences")
            for difference in one["verify"]["differences"]:
                talk.print(f"  {difference}", markup=False)
    return code


if __name__ == "__main__":
    start_tuned()
    sys.exit(main())
