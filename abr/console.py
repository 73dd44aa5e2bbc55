"""Rows in, rich renderables out: tables, the monitor's screen, errors; and the text of --format json and csv.

Pure: no SQL, no clock, nothing printed. A row is a mapping from column to value, as the report views give it.
Cells are never trusted: nothing that steers a terminal or a spreadsheet gets through, and rich markup is plain text.
Amounts are never rounded, never added across currencies, and a missing one is never blank.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from abr.exceptions import ABRError, ContractComplianceError, DataIntegrityError

Row = Mapping[str, Any]
Decimals = Mapping[str, int]  # a currency's minor unit as ISO 4217 says: {"JPY": 0, "KWD": 3}
Kind = Literal[
    "text", "words", "list", "figure", "money", "hours", "seconds", "count", "date", "moment", "milliseconds"
]

NONE = "\u2013"  # a dash
UNKNOWN = "unknown"
CELL_CHARACTERS_MAX = 200
WORDS_CHARACTERS_MAX = 2_000  # of a cell that may take several lines, and of a message
PIPE_WIDTH = 240  # wide enough that nothing is left out when nobody's terminal sets a limit
SEVERITY_STYLES = {"critical": "red", "watch": "yellow"}
SIDE_STYLES = {"pending": "dim", "noise": "dim", "written_off": "dim"}
WARNING_STYLE = "bold yellow"
QUARANTINE_STYLE = "bold magenta"
REJECTED_STYLE = "bold red"

_GAP = 2
_TEXT_WIDTH_MAX = 40
_TEXT_WIDTH_LEAST = 12
_WIDE_FROM = 132  # columns from which the screen puts the sums beside the contracts
_WIDE_FROM_HEIGHT = 16
_LOG_ROWS_MAX = 20
_WORDS_WIDTH_LEAST_MAX = 24
_WRAPPED_KINDS = {"words", "list"}
_TEXT_KINDS = {"text", "date", "moment", *_WRAPPED_KINDS}

# Every control character, surrogate, line separator and invisible or direction-changing format character.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\ufe0e": "", "\ufe0f": ""}  # the last two only pick a glyph
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  spreadsheets read the full-width ones too


# ---- cells --------------------------------------------------------------------------------------------------------


def safe(value: object, limit: int = CELL_CHARACTERS_MAX) -> str:
    r"""Return the value as text that cannot steer a terminal: control characters show as \x1b, long text is cut."""
    text = value if isinstance(value, str) else str(value)
    visible = _UNSAFE.sub(_escaped, text[:limit])
    return visible if len(text) <= limit else visible + "…"


def money(amount: Decimal | int | None, currency: str | None, decimals: Decimals) -> str:
    """Return the amount with thousands separators and its currency's decimals, more only where it has more itself."""
    if amount is None:
        return UNKNOWN
    if isinstance(amount, float):
        raise TypeError(f"money is never a float: {amount!r}")
    exact = Decimal(amount)
    significant = len(f"{exact:f}".partition(".")[2].rstrip("0"))
    places = max(decimals.get(currency or "", 2), significant)
    return f"{abs(exact) if exact == 0 else exact:,.{places}f}"


def hours(value: Decimal | int | None) -> str:
    """Return hours with two decimals; what would look like nothing but is something says so."""
    if value is None:
        return NONE
    exact = Decimal(value)
    rounded = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
    if rounded == 0 != exact:
        return "<0.01"
    return f"{abs(rounded) if rounded == 0 else rounded:,}"


def moment(value: datetime | None) -> str:
    """Return a timestamp to the second in UTC; one without a zone is UTC already."""
    return NONE if value is None else f"{_utc(value):%Y-%m-%d %H:%M:%S}Z"


def milliseconds(value: int | None) -> str:
    """Return a duration as `61 ms`, from ten seconds on as `12.3 s`."""
    if value is None:
        return NONE
    return f"{value:,} ms" if value < 10_000 else f"{Decimal(value) / 1000:,.1f} s"  # noqa: PLR2004  as it says


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004  the width of the escape
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _cell(row: Row, column: Column, decimals: Decimals) -> str:
    value = row[column.name]
    if value is None or value == "":
        return column.none
    if column.kind == "money":
        return money(value, row["currency"], decimals)
    if column.kind in _FORMATS:
        return _FORMATS[column.kind](value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return safe(value)


_FORMATS: Mapping[Kind, Callable[[Any], str]] = {
    "hours": hours,
    "seconds": lambda seconds: hours(Decimal(seconds) / 3600),
    "count": lambda count: f"{count:,}",
    "milliseconds": milliseconds,
    "moment": moment,
    "list": lambda items: safe(", ".join(item.strip() for item in items.split(",")), WORDS_CHARACTERS_MAX),
    "words": lambda words: safe(words, WORDS_CHARACTERS_MAX),
}


# ---- tables -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One column of a table: which value of the row, under which title, and how soon it may go.

    `leave` 0 stays longest; the higher, the sooner it is left out where the terminal is narrow. `whole` text is cut
    last, because people copy it. An `optional` column is only there when some row has a value other than 0.
    `none` is shown where there is no value. A row's colour skips the columns that stand `aside`.
    """

    name: str
    title: str
    kind: Kind = "text"
    leave: int = 0
    whole: bool = False
    optional: bool = False
    none: str = NONE
    aside: bool = False


@dataclass(frozen=True)
class Rows:
    """A table that fits any width: figures are never cut, columns are left out instead, and a last line says which.

    `every_column` says what shows them all.
    """

    rows: Sequence[Row]
    columns: Sequence[Column]
    decimals: Decimals = field(default_factory=dict)
    style: Callable[[Row], str] = lambda _: ""
    note: str = ""
    every_column: str = "take --format csv"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, left_out = _table(self, options.max_width)
        yield table
        if left_out:
            titles = ", ".join(column.title for column in left_out)
            yield _talk(f"no room for {titles}; widen the terminal or {self.every_column}")
        if self.note:
            yield _talk(self.note)


def _talk(text: str) -> Text:
    """Return a remark below a table, wrapped between words also where the console lets long lines run on."""
    return Text(text, style="dim", no_wrap=False, overflow="fold")


def rows_table(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    decimals: Decimals | None = None,
    style: Callable[[Row], str] = lambda _: "",
    total_count: int | None = None,
    rest: str = "",
    every_column: str = Rows.every_column,
    empty: str = "nothing to show",
) -> RenderableType:
    """Return a table of the rows; of `total_count` rows it says how many it shows, and `rest` says where the rest is.

    Money columns read the row's `currency`: one currency is named once in the header, several in a column of their own.
    """
    if not rows:
        return Text(empty)
    note = ""
    if total_count is not None and total_count > len(rows):
        note = f"showing {len(rows):,} of {total_count:,}" + (f"; {rest}" if rest else "")
    return Rows(rows, columns, decimals or {}, style, note, every_column)


def _table(content: Rows, width: int, *, fill: bool = False) -> tuple[Table, list[Column]]:
    """Return the table at most `width` wide (with `fill`, exactly), and the columns there was no room for."""
    columns = _with_currency(content.columns, content.rows)
    columns = [column for column in columns if not column.optional or any(row[column.name] for row in content.rows)]
    cells = {
        column.name: _aligned([_cell(row, column, content.decimals) for row in content.rows]) for column in columns
    }
    widths = _fitted(columns, cells, width)
    if fill:
        _spread(widths, width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    kept = [column for column in columns if column.name in widths]
    for column in kept:
        table.add_column(
            Text(column.title, justify="left" if column.kind in _TEXT_KINDS else "right"),
            width=widths[column.name],
            no_wrap=column.kind not in _WRAPPED_KINDS,
            overflow="fold" if column.kind in _WRAPPED_KINDS else "ellipsis",
        )
    for index, row in enumerate(content.rows):
        texts = [_adjusted(cells[column.name][index], column, widths[column.name]) for column in kept]
        styles = [_cell_style(row, column, content.style) for column in kept]
        table.add_row(*map(Text, texts, styles))
    return table, [column for column in columns if column.name not in widths]


def _adjusted(cell: str, column: Column, width: int) -> str:
    # rich's own right-adjustment would strip the spaces that keep decimal points below one another.
    return cell if column.kind in _TEXT_KINDS else cell.rjust(width)


def _cell_style(row: Row, column: Column, style: Callable[[Row], str]) -> str:
    if column.aside and row[column.name] == 0:
        return "dim"
    return "" if column.aside else style(row)


def _with_currency(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Return the columns with the currency in the first money title, or, of several, in a column before it."""
    first = next((index for index, column in enumerate(columns) if column.kind == "money"), None)
    if first is None or any(column.name == "currency" for column in columns):
        return list(columns)
    currencies = {row["currency"] for row in rows}
    if len(currencies) == 1 and (currency := currencies.pop()):
        named = replace(columns[first], title=f"{columns[first].title} {safe(currency, 12)}")
        return [*columns[:first], named, *columns[first + 1 :]]
    return [*columns[:first], Column("currency", "Cur.", whole=True), *columns[first:]]


def _aligned(cells: list[str]) -> list[str]:
    """Return the cells padded on the right so that decimal points stand below one another."""
    if not all(re.fullmatch(r"<?-?[0-9,]+(\.[0-9]+)?|" + f"{NONE}|{UNKNOWN}", cell) for cell in cells):
        return cells
    tails = [len(cell) - cell.find(".") if "." in cell else 0 for cell in cells]
    return [
        cell + " " * (max(tails) - tail) if cell[-1].isdigit() else cell
        for cell, tail in zip(cells, tails, strict=True)
    ]


def _fitted(columns: Sequence[Column], cells: Mapping[str, Sequence[str]], width: int) -> dict[str, int]:
    """Return the width of every column there is room for. Text gives way first, then whole columns, figures never."""
    natural = {column.name: _natural(column, cells[column.name]) for column in columns}
    least = {column.name: _least(column, cells[column.name], natural[column.name]) for column in columns}
    kept = _chosen(columns, least, width)
    if _needed(kept, least) > width:  # nothing may go any more: identifiers are cut after all
        least |= {column.name: min(least[column.name], 4) for column in kept if column.kind in _TEXT_KINDS}
    while len(kept) > 1 and _needed(kept, least) > width:
        kept.pop()
    widths = {column.name: min(least[column.name], max(width, 1)) for column in kept}
    spare = width - _needed(kept, widths)
    while spare > 0 and (short := [name for name in widths if widths[name] < natural[name]]):
        for name in short[:spare]:
            widths[name] += 1
        spare -= len(short[:spare])
    return widths


def _chosen(columns: Sequence[Column], least: Mapping[str, int], width: int) -> list[Column]:
    """Return the columns that stay where not all fit, in their order."""
    kept = list(columns)
    while _needed(kept, least) > width and any(column.leave for column in kept):
        del kept[max(range(len(kept)), key=lambda index: (kept[index].leave, index))]
    for column in sorted(columns, key=lambda column: column.leave):
        # A wide column may have taken a narrower one with it that has room after all.
        if column not in kept and _needed([*kept, column], least) <= width:
            kept.append(column)
    return sorted(kept, key=columns.index)


def _natural(column: Column, cells: Iterable[str]) -> int:
    widest = max(cell_len(text) for text in (column.title, *cells))
    return min(widest, _TEXT_WIDTH_MAX) if column.kind == "text" else widest


def _least(column: Column, cells: Iterable[str], natural: int) -> int:
    if column.kind in _WRAPPED_KINDS:
        words = [column.title, *" ".join(cells).split()]
        return min(max(map(cell_len, words)), _WORDS_WIDTH_LEAST_MAX)
    gives_way = column.kind == "text" and not column.whole
    return min(natural, _TEXT_WIDTH_LEAST) if gives_way else natural


def _needed(columns: Collection[Column], widths: Mapping[str, int]) -> int:
    return sum(widths[column.name] for column in columns) + _GAP * (len(columns) - 1)


def _spread(widths: dict[str, int], width: int) -> None:
    """Widen the columns evenly until the table fills the width."""
    spare = width - sum(widths.values()) - _GAP * (len(widths) - 1)
    share, rest = divmod(max(spare, 0), len(widths))
    for index, name in enumerate(widths):
        widths[name] += share + (index < rest)


# ---- json and csv -------------------------------------------------------------------------------------------------


def json_text(rows: Sequence[Row], *, one: bool = False) -> str:
    """Return an array of objects, one a line; or, with `one`, the first row as an object. Decimals are strings.

    Valid for every cell, and no character in it steers a terminal: those are written as JSON escapes.
    """
    if one:
        return _json(rows[0], indent=2)
    return "[" + ",".join(f"\n  {_json(row)}" for row in rows) + ("\n]" if rows else "]")


def csv_text(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Return the rows as CSV with a header. Text that a spreadsheet would take for a formula gets a leading '."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(row[column]) for column in columns] for row in rows)
    return file.getvalue()


def _json(row: Row, indent: int | None = None) -> str:
    text = json.dumps(dict(row), default=_json_value, ensure_ascii=False, allow_nan=False, indent=indent)
    return _UNSAFE.sub(_json_escaped, text)


def _json_escaped(match: re.Match[str]) -> str:
    # A raw line feed in JSON is always its own layout: those of cells are escaped already.
    return "\n" if match[0] == "\n" else json.dumps(match[0]).strip('"').replace("\x7f", "\\u007f")


def _json_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return _exact(value)


def _exact(value: object) -> str:
    """Return a value as programs read it: decimals plain, dates ISO, timestamps ISO with Z."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return f"{_utc(value).isoformat()}Z"
    return value.isoformat() if isinstance(value, date) else str(value)


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return _exact(value)
    text = _UNSAFE.sub(_escaped, value)
    starts_formula = value.startswith(_FORMULA_STARTS) or value.lstrip().startswith(_FORMULA_STARTS)
    return f"'{text}" if starts_formula and not _PLAIN_NUMBER.fullmatch(value) else text


# ---- what the commands show ---------------------------------------------------------------------------------------

POSITION_COLUMNS = (
    Column("severity", "Severity", whole=True),
    Column("client", "Client"),
    Column("contract_id", "Contract", whole=True),
    Column("leakage_amount", "Leakage", "money"),
    Column("unbilled_hours", "Unbilled h", "hours", leave=1),
    Column("age_days", "Days", "count", leave=4, aside=True),
    Column("overbilled_amount", "Over-billed", "money", leave=3, aside=True),
    Column("exposure_amount", "Exposure", "money", leave=5, aside=True),
    Column("pending_amount", "Pending", "money", leave=7, aside=True),
    Column("written_off_amount", "Written off", "money", leave=8, optional=True, aside=True),
    Column("quarantined_hours", "Quarantined h", "hours", leave=6, aside=True),
    Column("threshold_amount", "Threshold", "money", leave=9, aside=True),
    Column("next_step", "Next step", "words", leave=2, aside=True),
)
TOTAL_COLUMNS = (
    Column("currency", "Currency", whole=True),
    Column("leakage_amount", "Leakage", "money"),
    Column("overbilled_amount", "Over-billed", "money", leave=1),
    Column("exposure_amount", "Exposure", "money", leave=2),
    Column("pending_amount", "Pending", "money", leave=4),
    Column("unbilled_hours", "Unbilled h", "hours", leave=5),
    Column("quarantined_hours", "Quarantined h", "hours", leave=3),
)
FINDING_COLUMNS = (
    Column("finding_id", "Finding", whole=True),
    Column("contract_id", "Contract", whole=True),
    Column("client", "Client", leave=4),
    Column("side", "Side", leave=1, whole=True),
    Column("class", "Class", whole=True),
    Column("amount", "Amount", "money", none=UNKNOWN),
    Column("seconds", "Hours", "seconds", leave=3),
    Column("worked_on", "Worked on", "date", leave=2),
    Column("person", "Person", leave=7),
    Column("hourly_rate", "Rate", "money", leave=8),
    Column("expected_amount", "Expected", "money", leave=9),
    Column("billed_amount", "Billed", "money", leave=9),
    Column("about", "About", leave=6),
    Column("invoice_ids", "Invoices", leave=10),
    Column("opened_run_id", "Since run", "figure", leave=5),
)
FINDING_HISTORY_COLUMNS = (
    Column("finding_id", "Finding", whole=True),
    Column("version", "Version", "count", leave=3),
    Column("state", "State", whole=True),
    Column("contract_id", "Contract", leave=1, whole=True),
    Column("side", "Side", whole=True),
    Column("class", "Class", leave=2, whole=True),
    Column("amount", "Amount", "money", none=UNKNOWN),
    Column("valid_from_run_id", "From run", "figure"),
    Column("valid_to_run_id", "To run", "figure"),
    Column("valid_from_at", "From", "moment", leave=5),
    Column("about", "About", leave=4),
)
QUARANTINE_COLUMNS = (
    Column("quarantine_id", "Row", whole=True),
    Column("entity", "Data set", whole=True),
    Column("key", "Key", whole=True),
    Column("contract_id", "Contract", leave=4),
    Column("client", "Client", leave=5),
    Column("seconds", "Hours", "seconds", leave=2),
    Column("state", "State", leave=3, whole=True),
    Column("reasons", "Reasons", "list"),
    Column("detail", "Detail", "words", leave=1),
    Column("opened_run_id", "Since run", "figure", leave=6),
)
QUARANTINE_HISTORY_COLUMNS = (
    Column("quarantine_id", "Row", whole=True),
    Column("entity", "Data set", leave=4, whole=True),
    Column("key", "Key", whole=True),
    Column("contract_id", "Contract", leave=5),
    Column("client", "Client", leave=6),
    Column("seconds", "Hours", "seconds", leave=2),
    Column("state", "State", whole=True),
    Column("reasons", "Reasons", "list", leave=1),
    Column("detail", "Detail", "words", leave=3),
    Column("waived_by", "Waived by", optional=True),
    Column("valid_from_run_id", "From run", "figure"),
    Column("valid_to_run_id", "To run", "figure"),
    Column("valid_from_at", "From", "moment", leave=7),
)
HISTORY_COLUMNS = (
    Column("run_id", "Run", "figure"),
    Column("as_of", "As of", "date", leave=6),
    Column("started_at", "Started", "moment"),
    Column("status", "Status", whole=True),
    Column("duration_ms", "Took", "milliseconds", leave=1),
    Column("logs_received", "Logs", "count", leave=2),
    Column("logs_eligible", "Priced", "count", leave=4),
    Column("logs_quarantined", "Quarantined", "count", leave=3),
    Column("logs_excluded", "Excluded", "count", leave=5),
    Column("logs_out_of_term", "Out of term", "count", leave=5),
    Column("findings_opened", "Opened", "count"),
    Column("findings_changed", "Changed", "count"),
    Column("findings_closed", "Closed", "count"),
    Column("error", "Error", "words", optional=True),
)
LOAD_COLUMNS = (
    Column("data_set", "Data set", whole=True),
    Column("read", "Read", "count"),
    Column("new", "New", "count"),
    Column("superseded", "Superseded", "count"),
    Column("unchanged", "Unchanged", "count"),
    Column("withdrawn", "Withdrawn", "count"),
    Column("quarantined", "Quarantined", "count"),
)
VERIFY_COLUMNS = (
    Column("what", "What", whole=True),
    Column("id", "Which", whole=True),
    Column("detail", "How it differs", "words"),
)
SETTING_COLUMNS = (
    Column("setting", "Setting", whole=True),
    Column("value", "Value", "words"),
    Column("origin", "Comes from", "words"),
)


def next_step(position: Row, classes: Collection[str] = ()) -> str:
    """Return what to do about a position, the first thing first: ask, re-issue, invoice, credit.

    `classes` are those of the contract's open findings that need somebody: leakage, over-billed, exposure.
    """
    steps = []
    if position["quarantined_line_count"]:
        steps.append("ask")  # invoices nobody could read may explain the leakage
    if position["leakage_amount"]:
        if "void_not_rebilled" in classes:
            steps.append("re-issue")
        if set(classes) & {"unbilled", "late_entry", "hours_short", "rate_under"} or "re-issue" not in steps:
            steps.append("invoice")
    if position["overbilled_amount"] or "currency_mismatch" in classes:  # what is in another currency is in no sum
        steps.append("credit")
    if not steps and (position["quarantined_hours"] or position["exposure_amount"] or classes):  # of unknown amount
        steps.append("ask")
    return ", ".join(steps) or NONE


def with_next_step(positions: Iterable[Row], findings: Iterable[Row] = ()) -> list[dict[str, Any]]:
    """Return the positions, each with a `next_step`; `findings` are open ones with contract_id and class."""
    classes: dict[str, set[str]] = {}
    for finding in findings:
        classes.setdefault(finding["contract_id"], set()).add(finding["class"])
    return [
        {**position, "next_step": next_step(position, classes.get(position["contract_id"], ()))}
        for position in positions
    ]


def flagged_first(positions: Iterable[Row]) -> list[Row]:
    """Return the positions, flagged first, then watch; within these by how many times its own threshold one has leaked.

    The multiple, because amounts in two currencies cannot be compared.
    """

    def order(position: Row) -> tuple[int, Decimal, str]:
        severity = {"critical": 0, "watch": 1}.get(position["severity"], 2)
        leakage, threshold = Decimal(position["leakage_amount"] or 0), Decimal(position["threshold_amount"] or 0)
        multiple = leakage / threshold if threshold else leakage * 1_000_000
        return severity, -multiple, str(position["contract_id"])

    return sorted(positions, key=order)


def report(
    positions: Sequence[Row],
    *,
    decimals: Decimals,
    totals: Sequence[Row],
    findings: Iterable[Row] = (),
    total_count: int | None = None,
    rest: str = "abr report --all for the rest",
) -> RenderableType:
    """Return current positions, flagged first in red, then watch in yellow, with next steps; and totals per currency.

    `positions` are rows of report.contract_position, `total_count` how many contracts there are in all, `totals` the
    sums of TOTAL_COLUMNS over these by currency, with contract_count, flagged_count and watch_count.
    """
    shown = flagged_first(with_next_step(positions, findings))
    if not shown:
        return Text("nothing to report")
    contracts = rows_table(
        shown, POSITION_COLUMNS, decimals=decimals, style=_severity_style, total_count=total_count, rest=rest
    )
    count = len(shown) if total_count is None else total_count
    heading = Text(f"Totals of {'all ' if count > 1 else ''}{_counted(count, 'contract')}", style="bold")
    return Group(contracts, Text(""), heading, Rows(totals, TOTAL_COLUMNS, decimals))


def findings_table(rows: Sequence[Row], *, decimals: Decimals, total_count: int | None = None) -> RenderableType:
    """Return rows of report.finding; or of report.finding_history, which have a `version`."""
    columns = FINDING_HISTORY_COLUMNS if rows and "version" in rows[0] else FINDING_COLUMNS
    return rows_table(
        rows,
        columns,
        decimals=decimals,
        style=lambda row: "yellow" if row["class"] == "fixed_price_overrun" else SIDE_STYLES.get(row["side"], ""),
        total_count=total_count,
        rest="narrow it down, or take --format csv",
        empty="no findings",
    )


def quarantine_table(
    rows: Sequence[Row], *, total_count: int | None = None, seconds_at_risk: Decimal | int = 0
) -> RenderableType:
    """Return rows of report.quarantine under the heading they are known by; or rows of its history, a version each.

    `total_count` and `seconds_at_risk` are those of all there are.
    """
    if rows and "valid_from_run_id" in rows[0]:
        return rows_table(rows, QUARANTINE_HISTORY_COLUMNS, total_count=total_count, rest="take --format csv for all")
    count = len(rows) if total_count is None else total_count
    if not rows:
        return Text("quarantine is empty")
    heading = _quarantine_heading(count, Decimal(seconds_at_risk) / 3600)
    table = rows_table(rows, QUARANTINE_COLUMNS, total_count=total_count, rest="take --format csv for all")
    return Group(heading, table)


def history_table(rows: Sequence[Row], *, total_count: int | None = None) -> RenderableType:
    """Return rows of report.run_history, halted ones in red."""
    return rows_table(
        rows,
        HISTORY_COLUMNS,
        style=lambda row: "red" if row["status"] == "halted" else "",
        total_count=total_count,
        empty="no run yet",
    )


def load_summary(rows: Sequence[Row]) -> RenderableType:
    """Return what a load did, per data set: data_set, read, new, superseded, unchanged, withdrawn, quarantined."""
    return rows_table(rows, LOAD_COLUMNS, empty="nothing was loaded")


def verify_differences(rows: Sequence[Row]) -> RenderableType:
    """Return what `verify` found to differ: what (a view or a table), id, detail."""
    return rows_table(rows, VERIFY_COLUMNS, style=lambda _: "red", empty="everything stored equals what is recomputed")


def settings_table(rows: Sequence[Row]) -> RenderableType:
    """Return the settings with their values and where these came from."""
    return rows_table(rows, SETTING_COLUMNS)


@dataclass(frozen=True)
class Step:
    """One step of an explanation: its name, how it was calculated with the numbers in it, and what came out."""

    label: str
    formula: str = ""
    result: str = ""


@dataclass(frozen=True)
class Section:
    """Steps under a heading."""

    title: str
    steps: Sequence[Step] = ()
    note: str = ""


def explanation(sections: Sequence[Section]) -> RenderableType:
    """Return the sections below one another: steps with formula and result, so that a person can redo them on paper."""
    parts: list[RenderableType] = []
    for section in sections:
        if parts:
            parts.append(Text(""))
        parts.append(Text(safe(section.title), style="bold"))
        if section.note:
            parts.append(Text(safe(section.note, WORDS_CHARACTERS_MAX), style="dim"))
        if section.steps:
            parts.append(_Steps(section.steps))
    return Group(*parts)


_STEPS_WIDTH_MAX = 110


@dataclass(frozen=True)
class _Steps:
    steps: Sequence[Step]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        labels = [safe(step.label) for step in self.steps]
        results = [safe(step.result) for step in self.steps]
        width = min(options.max_width, _STEPS_WIDTH_MAX)  # a result far from its formula cannot be followed by eye
        label_width = min(max(map(cell_len, labels)), max(width // 4, 8))
        result_width = min(max(map(cell_len, results)), max(width // 3, 8))
        formula_width = max(width - label_width - result_width - 3 * _GAP, 8)
        table = Table.grid(padding=(0, _GAP, 0, 0))
        table.add_column(width=label_width, overflow="fold")
        table.add_column(width=formula_width, overflow="fold")
        table.add_column(width=result_width, overflow="fold", justify="right")
        for step, label, result in zip(self.steps, labels, results, strict=True):
            table.add_row(Text(label), Text(safe(step.formula, WORDS_CHARACTERS_MAX)), Text(result, style="bold"))
        yield Padding(table, (0, 0, 0, _GAP))


# ---- the monitor --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """What the monitor shows after a run. Rows are those of the report views.

    `positions` are the contracts worth showing (flagged, watch, over-billed, in any order); there are `position_count`
    of them, where that is more. `totals` are as for `report`, over all contracts. `overruns` has
    a row for each contract with open fixed_price_overrun findings: what they add up to, amount None where one is
    unknown. `changes` are rows of audit.finding with a `change` (opened, changed, closed), those of `changed_run`, the
    last run that changed anything. Quarantined hours are those at risk. `rejected_files` lie in the inbox's rejected/.
    """

    run: Row
    decimals: Decimals
    source: str = ""
    positions: Sequence[Row] = ()
    position_count: int | None = None
    totals: Sequence[Row] = ()
    overruns: Sequence[Row] = ()
    quarantine_reasons: Mapping[str, int] = field(default_factory=dict)
    quarantined_rows: int = 0
    quarantined_hours: Decimal = Decimal(0)
    changes: Sequence[Row] = ()
    changed_run: Row | None = None
    next_run_in_seconds: float | None = None
    rejected_files: Sequence[str] = ()


SCREEN_COLUMNS = (
    Column("severity", "Severity", whole=True),
    Column("client", "Client"),
    Column("contract_id", "Contract", whole=True),
    Column("leakage_amount", "Leakage", "money"),
    Column("unbilled_hours", "Unbilled h", "hours", leave=1),
    Column("age_days", "Days", "count", leave=3, aside=True),
    Column("overbilled_amount", "Over-billed", "money", leave=2, aside=True),
    Column("exposure_amount", "Exposure", "money", leave=4, aside=True),
    Column("quarantined_hours", "Quarantined h", "hours", leave=5, aside=True),
    Column("pending_amount", "Pending", "money", leave=6, aside=True),
    Column("threshold_amount", "Threshold", "money", leave=7, aside=True),
)
CHANGE_COLUMNS = (
    Column("change", "Change", whole=True),
    Column("contract_id", "Contract", whole=True),
    Column("class", "Class"),
    Column("amount", "Amount", "money", none=UNKNOWN),
)


def screen(snapshot: Snapshot, *, width: int, height: int) -> RenderableType:
    """Return the monitor's screen, at most `width` columns and `height` lines in any terminal."""
    header = _header(snapshot, width)
    if width < _WIDE_FROM or height < _WIDE_FROM_HEIGHT:
        blocks = [
            _Block(header, least=1, turn=0, needed=0),
            _totals_block(snapshot, width),
            _contracts_block(snapshot, width),
            _alerts_block(snapshot, width, height),
        ]
        return Group(*_stacked(blocks, height))
    right_width = max(58, min(76, width * 3 // 10))
    left_width = width - right_width - 2 * _GAP
    body_height = height - len(header) - 1
    grid = Table.grid(padding=(0, 2 * _GAP, 0, 0), pad_edge=False)
    grid.add_column(width=left_width)
    grid.add_column(width=right_width)
    left = [_contracts_block(snapshot, left_width)]
    right = [
        _rejected_block(snapshot, right_width),
        _sums_block(snapshot, right_width),
        _overruns_block(snapshot, right_width),
        _quarantine_block(snapshot, right_width),
        _changes_block(snapshot, right_width),
    ]
    grid.add_row(Group(*_stacked(left, body_height)), Group(*_stacked(right, body_height)))
    return Group(*header, Text(""), grid)


def line(snapshot: Snapshot) -> str:
    """Return the run as one line that balances."""
    run = snapshot.run
    start = f"run {run['run_id']}  {moment(run['finished_at'] or run['started_at'])}"
    if run["status"] != "ok":
        return f"{start}  {safe(run['status'])}  {safe(run['error'] or '', WORDS_CHARACTERS_MAX)}".rstrip()
    parts = [start, _balance(run), _changed(run), _flags(snapshot).plain, milliseconds(run["duration_ms"])]
    return "  ".join(part for part in parts if part)


def lines(snapshot: Snapshot, previous: Snapshot | None = None) -> RenderableType:
    """Return the run's line for a pipe or log, with a table below it when something changed since `previous`."""
    first = Text(line(snapshot), no_wrap=True, overflow="ignore")
    if previous is not None and _shown(previous) == _shown(snapshot):
        return first
    parts: list[RenderableType] = [first]
    if snapshot.positions:
        shown = flagged_first(snapshot.positions)[:_LOG_ROWS_MAX]
        table = rows_table(
            shown,
            SCREEN_COLUMNS,
            decimals=snapshot.decimals,
            style=_severity_style,
            total_count=_position_count(snapshot),
            rest="abr report for the rest",
            every_column="call abr report --format csv",
        )
        parts += [Text(""), table]
    if snapshot.overruns or snapshot.quarantined_rows or snapshot.rejected_files:
        parts += [Text(""), _Alerts(snapshot)]
    return Group(*parts, Text("")) if len(parts) > 1 else first


@dataclass(frozen=True)
class _Alerts:
    snapshot: Snapshot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _alerts(self.snapshot, options.max_width, 0)


@dataclass(frozen=True)
class _Block:
    """A part of the screen: its lines, or what draws it into the lines it is given.

    It wants at least `least` lines and at most `most`. The higher `needed`, the sooner it goes when there is no room;
    the lower `turn`, the sooner it gets lines beyond `least`.
    """

    content: Sequence[RenderableType] | Callable[[int], Sequence[RenderableType]]
    least: int
    most: int = 0
    turn: int = 0
    needed: int = 0


def _stacked(blocks: Iterable[_Block], height: int) -> list[RenderableType]:
    """Return the blocks below one another in at most `height` lines, with an empty line between where there is room."""
    kept = [replace(block, most=_most(block), least=min(block.least, _most(block))) for block in blocks if _most(block)]
    while kept and sum(block.least for block in kept) > height:
        kept.remove(max(kept, key=lambda block: block.needed))
    spare = height - sum(block.least for block in kept)
    gaps = min(max(len(kept) - 1, 0), spare)
    spare -= gaps
    heights = [block.least for block in kept]
    for index in sorted(range(len(kept)), key=lambda index: kept[index].turn):
        more = min(spare, kept[index].most - heights[index])
        heights[index] += more
        spare -= more
    parts: list[RenderableType] = []
    for index, (block, block_height) in enumerate(zip(kept, heights, strict=True)):
        if index and index <= gaps:
            parts.append(Text(""))
        parts += block.content(block_height) if callable(block.content) else block.content[:block_height]
    return parts


def _most(block: _Block) -> int:
    return block.most if callable(block.content) else len(block.content)


def _header(snapshot: Snapshot, width: int) -> list[RenderableType]:
    run = snapshot.run
    name = Text.assemble(("ABR", "bold"), f"  {safe(snapshot.source, 60)}" if snapshot.source else "")
    facts = [f"run {run['run_id']}", milliseconds(run["duration_ms"])]
    if snapshot.next_run_in_seconds is not None:
        seconds = math.ceil(snapshot.next_run_in_seconds)
        facts.append(f"next run in {seconds} s" if seconds > 0 else "running now")
    when = Text(moment(run["finished_at"] or run["started_at"]))
    when.append(f"  as of {run['as_of']}", style="dim")
    if run["status"] != "ok":
        error = Text(f"{safe(run['status'])}: {safe(run['error'] or '')}", style="bold red")
        return [_both(name, Text("  ".join(facts)), width), _both(when, Text(""), width), _both(error, Text(""), width)]
    changed = _changed(run)
    change = Text(changed, style="bold")
    if changed == _NO_CHANGE:
        since = f" since run {snapshot.changed_run['run_id']}" if snapshot.changed_run else ""
        change = Text(changed + since, style="dim")
    return [
        _both(name, Text("  ".join(facts)), width),
        _both(when, change, width),
        _both(Text(_balance(run)), Text(""), width),
    ]


def _both(left: Text, right: Text, width: int) -> Text:
    """Return one line with `left` at its left and `right` at its right end, without `right` where both do not fit."""
    room = width - left.cell_len - right.cell_len
    if right.plain and room >= _GAP:
        left = Text.assemble(left, " " * room, right)
    elif right.plain and width - right.cell_len >= _TEXT_WIDTH_MAX // 2:
        left.truncate(width - right.cell_len - _GAP, overflow="ellipsis")
        left = Text.assemble(left, " " * (width - left.cell_len - right.cell_len), right)
    left.truncate(max(width, 1), overflow="ellipsis")
    left.no_wrap = True
    return left


def _totals_block(snapshot: Snapshot, width: int) -> _Block:
    """Return the totals, a line per currency."""
    totals = snapshot.totals

    def draw(height: int) -> list[RenderableType]:
        room = height - 2
        shown = totals if len(totals) <= room else totals[: room - 1]
        table, _ = _table(Rows(shown, TOTAL_COLUMNS, snapshot.decimals), width, fill=True)
        more = len(totals) - len(shown)
        return [table, _both(Text(f"{more} more currencies", style="dim"), Text(""), width)] if more else [table]

    return _Block(draw, least=min(len(totals), 3) + 2, most=len(totals) + 2 if totals else 0, turn=2, needed=3)


def _sums_block(snapshot: Snapshot, width: int) -> _Block:
    """Return the totals with a column per currency, as long as so many columns fit."""
    totals = snapshot.totals
    measures = [column for column in TOTAL_COLUMNS if column.name != "currency"]
    rows = [
        {
            "measure": column.title,
            **{str(index): _cell(total, column, snapshot.decimals) for index, total in enumerate(totals)},
        }
        for column in measures
    ]
    rows.append(
        {"measure": "Flagged", **{str(index): f"{total['flagged_count']:,}" for index, total in enumerate(totals)}}
    )
    columns = [Column("measure", "", whole=True)]
    columns += [Column(str(index), safe(total["currency"], 12), "figure") for index, total in enumerate(totals)]
    cells = {column.name: [row[column.name] for row in rows] for column in columns}
    if len(_fitted(columns, cells, width)) < len(columns):
        return _totals_block(snapshot, width)
    content = Rows(rows, columns)
    return _table_block(Text("Totals", style="bold"), content, width, turn=0, needed=0)


def _contracts_block(snapshot: Snapshot, width: int) -> _Block:
    positions = flagged_first(snapshot.positions)
    content = Rows(positions, SCREEN_COLUMNS, snapshot.decimals, _severity_style)
    return _table_block(_flags(snapshot), content, width, count=_position_count(snapshot), turn=9, needed=2)


def _rejected_block(snapshot: Snapshot, width: int) -> _Block:
    listed = _rejected(snapshot, width, 3)
    return _Block([*listed, Text("")] if listed else [], least=len(listed) + bool(listed), needed=1)


def _overruns_block(snapshot: Snapshot, width: int) -> _Block:
    columns = (
        Column("client", "Client"),
        Column("contract_id", "Contract", whole=True),
        Column("seconds", "Hours over", "seconds"),
        Column("amount", "Worth", "money", leave=1, none=UNKNOWN),
    )
    overruns = _overruns(snapshot)
    content = Rows(overruns, columns, snapshot.decimals, lambda _: "yellow")
    return _table_block(_overruns_heading(overruns), content, width, rows_max=8, turn=3, needed=4)


def _quarantine_block(snapshot: Snapshot, width: int) -> _Block:
    columns = (Column("reason", "Reason", whole=True), Column("rows", "Rows", "count"))
    rows = [{"reason": reason, "rows": count} for reason, count in _reasons(snapshot)]
    heading = _quarantine_heading(snapshot.quarantined_rows, snapshot.quarantined_hours)
    content = Rows(rows, columns)
    return _table_block(heading, content, width, rows_max=12, turn=4, needed=3)


def _changes_block(snapshot: Snapshot, width: int) -> _Block:
    run = snapshot.changed_run or snapshot.run
    heading = Text.assemble(
        (f"Changed in run {run['run_id']}", "bold"), f"  {moment(run['finished_at'] or run['started_at'])}"
    )
    content = Rows(snapshot.changes, CHANGE_COLUMNS, snapshot.decimals)
    return _table_block(heading, content, width, turn=8, needed=9)


def _table_block(
    heading: Text,
    content: Rows,
    width: int,
    *,
    count: int | None = None,
    rows_max: int = 1_000,
    turn: int,
    needed: int,
) -> _Block:
    """Return a block of a heading, which says how many rows it leaves out, and a table below it."""
    row_count = len(content.rows) if count is None else count

    def draw(height: int) -> list[RenderableType]:
        shown = content.rows[: max(height - 3, 0)]
        left_out = f"{len(shown):,} of {row_count:,}" if row_count > len(shown) else ""
        if left_out and heading.cell_len + len(left_out) + len("showing ") + _GAP <= width:
            left_out = f"showing {left_out}"
        title = _both(heading.copy(), Text(left_out, style="dim"), width)
        return [title, _table(replace(content, rows=shown), width, fill=True)[0]] if shown else [title]

    if not content.rows:
        return _Block([_both(heading.copy(), Text(""), width)] if count is not None else [], least=1, needed=needed)
    return _Block(draw, least=4, most=3 + min(len(content.rows), rows_max), turn=turn, needed=needed)


def _alerts(snapshot: Snapshot, width: int, height: int) -> list[RenderableType]:
    """Return the warnings in a few lines, as a screen of that height can spare them."""
    alerts: list[RenderableType] = [*_rejected(snapshot, width, 1)]
    overruns = _overruns(snapshot)
    if overruns:
        items = [
            f"{safe(row['client'] or NONE, 24)} {safe(row['contract_id'])} {hours(row['hours'])} h" for row in overruns
        ]
        alerts += _listed(_overruns_heading(overruns), items, width, max(1, height // 16))
    if snapshot.quarantined_rows:
        items = [f"{safe(reason)} {count:,}" for reason, count in _reasons(snapshot)]
        heading = _quarantine_heading(snapshot.quarantined_rows, snapshot.quarantined_hours)
        alerts += _listed(heading, items, width, max(1, height // 10))
    return alerts


def _alerts_block(snapshot: Snapshot, width: int, height: int) -> _Block:
    """Return the warnings; where not all of their lines have room, on a line each, or else all of them on one."""
    alerts, one_each = _alerts(snapshot, width, height), _alerts(snapshot, width, 0)
    counted = (
        ("⚠ QUARANTINE", QUARANTINE_STYLE, snapshot.quarantined_rows),
        ("INBOX", REJECTED_STYLE, len(snapshot.rejected_files)),
        ("PROFITABILITY", WARNING_STYLE, len(_overruns(snapshot))),
    )
    shown = [(f"{words} {count:,}", style) for words, style, count in counted if count]
    in_short = Text("  ").join(Text(words, style) for words, style in shown)
    in_short.truncate(max(width, 1), overflow="ellipsis")
    in_short.no_wrap = True

    def draw(lines_max: int) -> list[RenderableType]:
        return next((some for some in (alerts, one_each) if len(some) <= lines_max), [in_short])

    return _Block(draw, least=1, most=len(alerts), turn=1, needed=1)


def _listed(heading: Text, items: Sequence[str], width: int, lines_max: int) -> list[Text]:
    """Return the heading and, after it and on the lines below, as many of the items as fit; the rest is counted."""
    parts = [heading.copy()]
    for index, item in enumerate(items):
        left = len(items) - index - 1
        more = f" +{left} more" if left else ""
        lead = ": " if index == 0 else ", "
        last = len(parts) == lines_max
        if parts[-1].cell_len + cell_len(lead + item + (more if last else ",")) <= width:
            parts[-1].append(lead + item)
        elif not last and index and cell_len(f"  {item},") <= width:
            parts[-1].append(",")
            parts.append(Text(f"  {item}"))
        else:
            rest = f" +{left + 1} more" if index else ""
            parts[-1].append(rest)
            break
    for part in parts:
        part.truncate(max(width, 1), overflow="ellipsis")
        part.no_wrap = True
    return parts


_NO_CHANGE = "no change"


def _balance(run: Row) -> str:
    """Return where every log went, as a sum; what is 0 is left out beyond the first two."""
    parts = [f"{run['logs_eligible'] or 0:,} priced", f"{run['logs_quarantined'] or 0:,} quarantined"]
    parts += [f"{run[name]:,} {word}" for name, word in _OTHER_LOGS.items() if run[name]]
    return f"{run['logs_received'] or 0:,} logs = {' + '.join(parts)}"


_OTHER_LOGS = {"logs_excluded": "excluded", "logs_out_of_term": "out of term"}


def _changed(run: Row) -> str:
    parts = [
        f"{run[f'findings_{word}']:,} {word}" for word in ("opened", "changed", "closed") if run[f"findings_{word}"]
    ]
    return ", ".join(parts) or _NO_CHANGE


def _flags(snapshot: Snapshot) -> Text:
    """Return how many contracts are flagged and watched, of how many."""
    counts = {
        name: sum(total[f"{name}_count"] for total in snapshot.totals) for name in ("flagged", "watch", "contract")
    }
    return Text.assemble(
        (f"{counts['flagged']:,} flagged", "bold red" if counts["flagged"] else "bold"),
        ", ",
        (f"{counts['watch']:,} watch", "yellow" if counts["watch"] else ""),
        f", {_counted(counts['contract'], 'contract')}",
    )


def _position_count(snapshot: Snapshot) -> int:
    return max(snapshot.position_count or 0, len(snapshot.positions))


def _overruns(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return the overrun contracts, the most hours first."""
    rows = sorted(snapshot.overruns, key=lambda row: (-row["seconds"], str(row["contract_id"])))
    return [{**row, "hours": Decimal(row["seconds"]) / 3600} for row in rows]


def _rejected(snapshot: Snapshot, width: int, lines_max: int) -> list[Text]:
    """Return which files the inbox has rejected, in so many lines; none where there are none."""
    if not snapshot.rejected_files:
        return []
    count = _counted(len(snapshot.rejected_files), "file")
    heading = Text.assemble(("INBOX", REJECTED_STYLE), f"  {count} rejected, see rejected/")
    return _listed(heading, [safe(name, 40) for name in snapshot.rejected_files], width, lines_max)


def _overruns_heading(overruns: Sequence[Row]) -> Text:
    return Text.assemble(("PROFITABILITY WARNING", WARNING_STYLE), f"  {len(overruns):,} fixed-price over")


def _reasons(snapshot: Snapshot) -> list[tuple[str, int]]:
    return sorted(snapshot.quarantine_reasons.items(), key=lambda item: (-item[1], item[0]))


def _quarantine_heading(rows: int, hours_at_risk: Decimal) -> Text:
    if not rows:
        return Text("quarantine is empty", style="dim")
    told = f"  {_counted(rows, 'row')}, {hours(hours_at_risk)} h at risk"
    return Text.assemble(("⚠ QUARANTINE", QUARANTINE_STYLE), told)


def _severity_style(position: Row) -> str:
    return SEVERITY_STYLES.get(position["severity"], "")


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _shown(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what the table and the warnings show, without what the calendar or another run moves."""
    moving = {"age_days", "age_bucket", "as_of", "run_id"}
    positions = [
        sorted((name, str(value)) for name, value in row.items() if name not in moving)
        for row in flagged_first(snapshot.positions)
    ]
    return positions, _overruns(snapshot), _reasons(snapshot), snapshot.quarantined_rows, snapshot.rejected_files


# ---- errors, terminals, pictures ----------------------------------------------------------------------------------


def problem(error: ABRError) -> RenderableType:
    """Return an error as people see it: a HALT as a block in red, any other as one line, `abr: message; remedy`."""
    if isinstance(error, DataIntegrityError | ContractComplianceError):
        return halt(error)
    message = safe(error.message, WORDS_CHARACTERS_MAX)
    return Text(f"abr: {message}; {safe(error.remedy, WORDS_CHARACTERS_MAX)}" if error.remedy else f"abr: {message}")


def halt(error: ABRError) -> RenderableType:
    """Return `CRITICAL ERROR (HALT)` in red, then what failed and where, then what to do."""
    parts = [Text("CRITICAL ERROR (HALT)", style="bold red"), Text(safe(error.message, WORDS_CHARACTERS_MAX))]
    if error.remedy:
        parts.append(Text(safe(error.remedy, WORDS_CHARACTERS_MAX)))
    return Group(*parts)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Let the caller decide: rich would end the process with exit code 1."""
        raise  # noqa: PLE0704  rich calls this while it handles the BrokenPipeError


def terminal(file: TextIO) -> Console:
    """Return a console for stdout or stderr: colour only on a terminal, no markup; a pipe is as wide as tables need."""
    width = None if file.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return _Terminal(file=file, width=width, markup=False, highlight=False, emoji=False, soft_wrap=True)


def svg(renderable: RenderableType, *, width: int, title: str) -> str:
    """Return a picture of the renderable, the same for the same input wherever it is made; it loads nothing."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},
    )
    console.print(renderable)
    picture = console.export_svg(title=title, unique_id="abr")
    return re.sub(r" *@font-face \{.*?\}\n", "", picture, flags=re.DOTALL)
