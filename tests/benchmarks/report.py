"""What was measured, held against its targets: a table, a chart (SVG) and the raw numbers (JSON)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from rich.table import Table
from rich.text import Text

from tests.benchmarks import firm, scale
from tests.benchmarks.scale import Measures

GIGABYTE = 1e9
M1, M10, M100 = 1_000_000, 10_000_000, 100_000_000


@dataclass(frozen=True)
class Figure:
    """One line of the table: how it is read from the measures of a size, and what it should be there.

    `before` of `value` are the measures of the next smaller size, if there are any. `is_floor`: targets are least
    values, not greatest.
    """

    title: str
    unit: str
    value: Callable[[Measures, Measures | None], float | None]
    targets: Mapping[int, float] | None = None
    is_floor: bool = False


def _cycle(kind: str, which: str, percentile: Callable[[Sequence[float]], float]) -> Callable[..., float]:
    return lambda measures, _: percentile(measures["cycles"][kind][which])


def _growth(kind: str) -> Callable[[Measures, Measures | None], float | None]:
    """Return by how much a cycle grows when the logs grow tenfold."""
    p95 = _cycle(kind, "published_ms", firm.p95)

    def growth(measures: Measures, before: Measures | None) -> float | None:
        if before is None:
            return None
        ratio = p95(measures, None) / p95(before, None)
        return ratio ** (1 / math.log10(measures["logs"] / before["logs"]))

    return growth


def _cycle_figures(kind: str, title: str, targets: Mapping[int, float]) -> list[Figure]:
    return [
        Figure(f"{title}, published, p95", "ms", _cycle(kind, "published_ms", firm.p95), targets),
        Figure(f"{title}, published, p50", "ms", _cycle(kind, "published_ms", firm.p50)),
        Figure(f"{title}, alone, p95", "ms", _cycle(kind, "alone_ms", firm.p95)),
        Figure(f"{title}, alone, p50", "ms", _cycle(kind, "alone_ms", firm.p50)),
        # Of all its threads. What is far below the clock's time tells of a busy machine.
        Figure(f"{title}, processor time, p50", "ms", _cycle(kind, "processor_ms", firm.p50)),
    ]


def _peak(kind: str) -> Callable[..., float]:
    return lambda measures, _: measures["cycles"][kind]["peak_bytes"] / GIGABYTE


def _polars_ms(measures: Measures, _: Measures | None = None) -> float | None:
    return firm.p50(measures["polars"]["ms"]) if measures["polars"] else None


def _times_faster(measures: Measures, _: Measures | None) -> float | None:
    rival_ms = _polars_ms(measures)
    return rival_ms and rival_ms / firm.p95(measures["cycles"]["steady"]["published_ms"])


FIGURES = (
    Figure("abr simulate", "s", lambda m, _: m["built"]["simulate"]["seconds"]),
    Figure("load", "s", lambda m, _: m["built"]["load"]["seconds"]),
    Figure("load, rows a second", "", lambda m, _: m["built"]["load"]["rows"] / m["built"]["load"]["seconds"]),
    Figure("load, peak memory", "GB", lambda m, _: m["built"]["load"]["peak_bytes"] / GIGABYTE),
    Figure("first run", "s", lambda m, _: m["built"]["first_run"]["seconds"]),
    Figure("first run, peak memory", "GB", lambda m, _: m["built"]["first_run"]["peak_bytes"] / GIGABYTE),
    *_cycle_figures("steady", "20 new logs in 10 contracts", {M1: 80, M10: 100, M100: 150}),
    Figure("  growth of its p95 per tenfold", "times", _growth("steady"), {M10: 1.4, M100: 1.6}),
    *_cycle_figures("burst", "1,000 new logs in 100 contracts", {M1: 500, M10: 500, M100: 700}),
    Figure("  growth of its p95 per tenfold", "times", _growth("burst"), {M10: 1.4, M100: 1.6}),
    *_cycle_figures("nothing", "nothing new", {M1: 25, M10: 25, M100: 30}),
    Figure("peak memory, 20 new logs a cycle", "GB", _peak("steady"), {M1: 0.5, M10: 1, M100: 3}),
    Figure("peak memory, 1,000 new logs a cycle", "GB", _peak("burst")),
    Figure(f"with ABR_MEMORY_LIMIT={scale.LITTLE_MEMORY}, {scale.LITTLE_MEMORY_OF_MANY} at 100M: peak memory", "GB",
           lambda m, _: m["limited"]["peak_bytes"] / GIGABYTE, {M1: 0.5, M10: 1, M100: 3}),
    Figure("  20 new logs in 10 contracts, published, p95", "ms", lambda m, _: firm.p95(m["limited"]["published_ms"])),
    Figure("tidying after a cycle of 1,000 new logs, longest", "ms", _cycle("burst", "tidied_ms", max),
           {M1: 200, M10: 200, M100: 200}),
    Figure("plain Polars report, p50", "ms", _polars_ms),
    Figure("  times the p95 of 20 new logs", "times", _times_faster, {M10: 5, M100: 30}, is_floor=True),
    Figure("our views, asked for everything", "s", lambda m, _: m["views"]["seconds"]),
    Figure("every contract touched at once", "s", lambda m, _: m["everything"]["seconds"],
           {M1: 3, M10: 30, M100: 360}),
    Figure("  its peak memory", "GB", lambda m, _: m["everything"]["peak_bytes"] / GIGABYTE,
           {M1: 8, M10: 8, M100: 8}),
    Figure("database, bytes a log", "", lambda m, _: m["built"]["database_bytes"] / m["logs"],
           {M1: 100, M10: 100, M100: 100}),
    Figure("file in the inbox to its findings, p95", "s", lambda m, _: firm.p95(m["inbox"]["seconds"]),
           {M1: 1, M10: 1, M100: 2}),
    Figure("file in the inbox to its findings, p50", "s", lambda m, _: firm.p50(m["inbox"]["seconds"])),
    Figure("abr verify", "s", lambda m, _: m["verify"]["seconds"]),
    Figure("  differences it found", "", lambda m, _: m["verify"]["difference_count"], {M1: 0, M10: 0, M100: 0}),
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A figure's value at one size; `target` and `is_met` are None where it has none there."""

    title: str
    unit: str
    logs: int
    value: float | None
    target: float | None
    is_met: bool | None


def judged(sizes: Sequence[Measures]) -> list[Judged]:
    """Return every figure of every size, the sizes given from small to large."""
    found = []
    for figure in FIGURES:
        for place, measures in enumerate(sizes):
            value = figure.value(measures, sizes[place - 1] if place else None)
            target = (figure.targets or {}).get(measures["logs"])
            is_met = _is_met(value, target, is_floor=figure.is_floor)
            found.append(Judged(figure.title, figure.unit, measures["logs"], value, target, is_met))
    return found


def _is_met(value: float | None, target: float | None, *, is_floor: bool) -> bool | None:
    if target is None:
        return None
    if value is None:
        return True if is_floor else None  # a rival whose data do not fit in memory is beaten
    return value >= target if is_floor else value <= target


def table(found: Sequence[Judged]) -> Table:
    """Return a line for each figure: its value at each size, the target there, and whether it is met."""
    sizes = sorted({one.logs for one in found})
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("Measure", no_wrap=True)
    for logs in sizes:
        shown.add_column(f"{logs:,} logs", justify="right", no_wrap=True)
        shown.add_column("Target", no_wrap=True)
    for place, figure in enumerate(FIGURES):
        cells: list[Text] = []
        for one in found[place * len(sizes) : (place + 1) * len(sizes)]:
            cells += [Text(_amount(one.value, one.unit)), _verdict(one, is_floor=figure.is_floor)]
        shown.add_row(Text(figure.title), *cells)
    return shown


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def _verdict(one: Judged, *, is_floor: bool) -> Text:
    if one.target is None:
        return Text("")
    limit = f"{'>=' if is_floor else '<='} {one.target:,g}"
    if one.is_met is None:
        return Text(limit)
    if one.value is None:
        return Text(f"{limit} does not fit in memory", "green")
    return Text(f"{limit} {'pass' if one.is_met else 'MISS'}", "green" if one.is_met else "bold red")


# ---- the chart ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """What the chart shows of a figure: its title there, colours for light and dark, and its unit in milliseconds."""

    figure: str
    title: str
    light: str
    dark: str
    unit_ms: float = 1


_LINES = (
    _Line("every contract touched at once", "every contract at once", "#b42318", "#ff8a7a", 1000),
    _Line("our views, asked for everything", "our views, all of it", "#a15c07", "#f0b45a", 1000),
    _Line("file in the inbox to its findings, p95", "inbox to findings", "#6941c6", "#b9a3ff", 1000),
    _Line("1,000 new logs in 100 contracts, published, p95", "1,000 new logs", "#175cd3", "#7db2ff"),
    _Line("20 new logs in 10 contracts, published, p95", "20 new logs", "#067647", "#5fd39a"),
    _Line("nothing new, published, p95", "nothing new", "#c11574", "#f590cb"),
    _Line("plain Polars report, p50", "plain Polars report", "#667085", "#a3acba"),
)
_WIDTH, _HEIGHT = 940, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 226, 78, 62
_LABEL_HEIGHT = 17


def chart(found: Sequence[Judged], caption: str) -> str:
    """Return the times over the sizes as SVG, both axes logarithmic, a line a measure, and its targets as rings."""
    points = {
        line: [
            (one.logs, one.value * line.unit_ms, one.target and one.target * line.unit_ms)
            for one in found
            if one.title == line.figure and one.value is not None
        ]
        for line in _LINES
    }
    drawn = {line: values for line, values in points.items() if values}
    sizes = sorted({one.logs for one in found})
    times = [time for values in drawn.values() for _, *both in values for time in both if time]
    x = _scale(min(sizes) / 1.6, max(sizes) * 1.6, _LEFT, _WIDTH - _RIGHT)
    y = _scale(min(times) / 1.5, max(times) * 1.5, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(x, y, sizes, times, caption)]
    labels = _spread({line: y(values[-1][1]) for line, values in drawn.items()})
    for place, (line, values) in enumerate(drawn.items()):
        path = " ".join(f"{x(logs):.1f},{y(time):.1f}" for logs, time, _ in values)
        parts.append(f'<g class="c{place}"><polyline points="{path}"/>')
        parts += [f'<circle cx="{x(logs):.1f}" cy="{y(time):.1f}" r="4"/>' for logs, time, _ in values]
        parts += [
            f'<circle class="target" cx="{x(logs):.1f}" cy="{y(target):.1f}" r="6.5"/>'
            for logs, _, target in values
            if target
        ]
        logs, time, _ = values[-1]
        label_at = _WIDTH - _RIGHT + 14
        parts.append(
            f'<path class="lead" d="M{x(logs) + 7:.1f} {y(time):.1f} L{label_at - 4} {labels[line]:.1f}"/>'
            f'<text x="{label_at}" y="{labels[line] + 4:.1f}">{escape(line.title)}, {_duration(time)}</text></g>'
        )
    return "\n".join([_head(list(drawn)), *parts, "</svg>"]) + "\n"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return what places a value between start and end by its logarithm."""
    return lambda value: start + (end - start) * math.log(value / low) / math.log(high / low)


def _frame(
    x: Callable[[float], float],
    y: Callable[[float], float],
    sizes: Sequence[int],
    times: Sequence[float],
    caption: str,
) -> list[str]:
    """Return title, grid and axes."""
    parts = [
        f'<text class="title" x="{_LEFT}" y="28">What a cycle costs as the books grow</text>',
        f'<text class="quiet" x="{_LEFT}" y="48">{escape(caption)}</text>',
    ]
    decades = range(math.floor(math.log10(min(times) / 1.5)), math.ceil(math.log10(max(times) * 1.5)) + 1)
    for decade in decades:
        height = y(10.0**decade)
        if _TOP <= height <= _HEIGHT - _BOTTOM:
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
                f'<text class="quiet end" x="{_LEFT - 10}" y="{height + 4:.1f}">{_duration(10.0**decade)}</text>'
            )
    parts += [
        f'<line class="grid" x1="{x(logs):.1f}" x2="{x(logs):.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="quiet middle" x="{x(logs):.1f}" y="{_HEIGHT - _BOTTOM + 22}">{logs:,}</text>'
        for logs in sizes
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="quiet middle" x="{middle}" y="{_HEIGHT - 16}">time logs in the database</text>')
    return parts


def _head(lines: Sequence[_Line]) -> str:
    """Return the opening tag, the words for who cannot see it, and the colours, which follow the reader's scheme."""
    light = "".join(f".c{place}{{color:{line.light}}}" for place, line in enumerate(lines))
    dark = "".join(f".c{place}{{color:{line.dark}}}" for place, line in enumerate(lines))
    titles = ", ".join(line.title for line in lines)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">
<title>What a cycle costs as the books grow: {escape(titles)}</title>
<style>
svg{{background:#fff;color:#1f2733;font:13px system-ui,-apple-system,"Segoe UI",sans-serif}}
text{{fill:currentColor}} .title{{font-size:18px;font-weight:600}} .quiet{{fill:#5b6675}}
.end{{text-anchor:end}} .middle{{text-anchor:middle}} .grid{{stroke:#e3e7ec}}
polyline{{fill:none;stroke:currentColor;stroke-width:2.2;stroke-linejoin:round}}
circle{{fill:currentColor}} .target{{fill:none;stroke:currentColor;stroke-width:1.4;stroke-dasharray:2.5 2}}
.lead{{fill:none;stroke:currentColor;opacity:.35}}
{light}
@media (prefers-color-scheme:dark){{svg{{background:#11161d;color:#e6eaf0}} .quiet{{fill:#98a3b3}}
.grid{{stroke:#28303b}} {dark}}}
</style>"""


def _spread(wanted: Mapping[_Line, float]) -> dict[_Line, float]:
    """Return heights for the labels, in the order they are wanted in, none over another and none below the axis."""
    found: dict[_Line, float] = {}
    lowest = _HEIGHT - _BOTTOM - _LABEL_HEIGHT * (len(wanted) - 1)
    height = -math.inf
    for line, at in sorted(wanted.items(), key=lambda item: item[1]):
        height = max(height + _LABEL_HEIGHT, min(at, lowest))
        lowest += _LABEL_HEIGHT
        found[line] = height
    return found


def _duration(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.3g} ms"
    seconds = milliseconds / 1000
    return f"{seconds:,.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"
