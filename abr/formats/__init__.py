"""Files into DuckDB temp tables of canonical cells: text exactly as given, to be parsed by whoever loads it.

A file is a canonical data set (by its name, else by its columns) or a tool's own export (by its columns).
Every module of this package that has a FORMAT is such an export's format; a new one needs no other change.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import duckdb

from abr.exceptions import UsageError
from abr.formats import csv_files, jsonl_files, parquet_files
from abr.formats.canonical import COLUMNS, REQUIRED, dataset_named, dataset_with
from abr.formats.tables import PART, Report, Table, Written, fault, readable, shown
from abr.formats.tools import EXPORT, KNOWN_PROJECT, ToolFormat, spans, write_time_logs

__all__ = ["COLUMNS", "FORMATS", "REQUIRED", "Incoming", "Reading", "ToolFormat", "read"]

SUFFIXES: Final = (".csv", ".jsonl", ".parquet")
FORMATS: Final[tuple[ToolFormat, ...]] = tuple(
    found
    for module in pkgutil.iter_modules(__path__)
    if isinstance(found := getattr(importlib.import_module(f"{__name__}.{module.name}"), "FORMAT", None), ToolFormat)
)

# Told a file's name and the percent of it that have been read.
Progress = Callable[[str, int], None]
_PROGRESS_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Incoming:
    """The rows of one data set: a temp table with exactly its columns, all text, NULL where no file has the column."""

    dataset: str
    relation: str
    ignored_columns: tuple[str, ...]  # unknown columns of canonical files; a tool's own are expected


@dataclass(frozen=True)
class Reading:
    """What was read. `spans`: the days a tool's export is complete for; several files may leave days out between them.

    `left_out`: the files of a folder whose names speak of no data set.
    """

    format: str
    incoming: tuple[Incoming, ...]
    spans: tuple[tuple[date, date], ...] = ()
    left_out: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Source:
    """A file, and what its columns make it: a data set or a tool's export."""

    table: Table
    dataset: str
    tool: ToolFormat | None = None


def read(
    connection: duckdb.DuckDBPyConnection,
    paths: Sequence[Path],
    *,
    as_: str = "auto",
    progress: Progress | None = None,
    formats: Sequence[ToolFormat] = FORMATS,
    known_projects: str = "select null::varchar where false",
) -> Reading:
    """Read files and folders into temp tables of the connection and return what they hold.

    `as_` is `auto`, `canonical` or the name of a tool's format; `known_projects` is a query for the ids of the projects
    that the books have, by which a tool's format may tell projects of one name apart. Files of one data set go into one
    temp table.
    Best called outside a transaction: within one, any error aborts it, and a file DuckDB can only read at the second
    try is refused.

    Raises UsageError where a path does not exist, where `as_` is unknown, or where the files are of several formats;
    DataIntegrityError where a folder holds no data set, or a file cannot be read whole or is not what it should be.
    """
    names = [tool.name for tool in formats]
    if as_ not in ("auto", "canonical", *names):
        raise UsageError(f"there is no format {shown(as_)!r}", f"choose auto, canonical, {', '.join(names)}")
    files = _files(paths, is_tool=as_ in names)
    sources = [_source(connection, path, as_, formats) for path in files]
    kinds = sorted({source.tool.name if source.tool else "canonical" for source in sources})
    if len(kinds) > 1:
        raise UsageError(f"these files are of several formats: {', '.join(kinds)}", "load each format by itself")
    try:
        tool = sources[0].tool
        if tool:
            connection.execute(f"create or replace temp table {KNOWN_PROJECT} (project_id) as {known_projects}")
            return _read_tool(connection, tool, sources, progress)
        incoming = tuple(_read_canonical(connection, sources, progress))
        return Reading("canonical", incoming, left_out=_left_out(paths))
    finally:
        # In a transaction that an error has aborted there is nothing left to drop.
        with contextlib.suppress(duckdb.Error):
            for relation in (PART, EXPORT, KNOWN_PROJECT):
                connection.execute(f"drop table if exists temp.{relation}")


def _read_canonical(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[_Source],
    progress: Progress | None,
) -> Iterator[Incoming]:
    for dataset, known in COLUMNS.items():
        mine = [source.table for source in sources if source.dataset == dataset]
        if not mine:
            continue
        relation = f"incoming_{dataset}"
        ignored: dict[str, None] = {}
        for number, table in enumerate(mine):
            written = _write(connection, table, known, progress)
            _append(connection, relation, "select *", is_first=number == 0)
            ignored.update((name or "(no name)", None) for name in written.names if name.casefold() not in known)
        yield Incoming(dataset, relation, tuple(ignored))


def _read_tool(
    connection: duckdb.DuckDBPyConnection,
    tool: ToolFormat,
    sources: Sequence[_Source],
    progress: Progress | None,
) -> Reading:
    for number, source in enumerate(sources):
        written = _write(connection, source.table, tool.columns, progress)
        if written.rows == 0:
            raise fault(
                source.table.path,
                f"is an export with a header and no rows ({tool.title}): the feed has failed",
                "export it again; nothing was loaded",
            )
        _append(connection, EXPORT, f"select *, {number} as file_number", is_first=number == 0)
    relation = "incoming_time_logs"
    write_time_logs(connection, tool, relation)
    return Reading(tool.name, (Incoming("time_logs", relation, ()),), spans=spans(connection, tool))


def _append(connection: duckdb.DuckDBPyConnection, relation: str, select: str, *, is_first: bool) -> None:
    if not is_first:
        connection.execute(f"insert into temp.{relation} {select} from temp.{PART}")
    elif select == "select *":
        connection.execute(f"drop table if exists temp.{relation}")
        connection.execute(f"alter table temp.{PART} rename to {relation}")
    else:
        connection.execute(f"create or replace temp table {relation} as {select} from temp.{PART}")


def _write(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    wanted: Sequence[str],
    progress: Progress | None,
) -> Written:
    def report(percent: int) -> None:
        if progress:
            progress(table.path.name, percent)

    report(0)
    if table.kind == "jsonl":
        written = jsonl_files.write(connection, table, wanted, report)
    else:
        with watched(connection, report) if progress else contextlib.nullcontext():
            write = csv_files.write if table.kind == "csv" else parquet_files.write
            written = write(connection, table, wanted)
    report(100)
    return written


@contextlib.contextmanager
def watched(connection: duckdb.DuckDBPyConnection, report: Report) -> Iterator[None]:
    """Report how far DuckDB is with the query that runs inside, ten times a second."""
    settings = ("enable_progress_bar", "enable_progress_bar_print")
    before = connection.execute(f"select {', '.join(f'current_setting({name!r})' for name in settings)}").fetchone()
    connection.execute("set enable_progress_bar = true")
    connection.execute("set enable_progress_bar_print = false")
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_PROGRESS_SECONDS):
            percent = int(connection.query_progress())
            if 0 <= percent < 100:  # noqa: PLR2004  percent
                report(percent)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(duckdb.Error):
            for name, value in zip(settings, before or (), strict=False):
                connection.execute(f"set {name} = {value}")


def _files(paths: Sequence[Path], *, is_tool: bool) -> list[Path]:
    """Return every file the paths stand for, each once."""
    files: dict[str, Path] = {}
    for path in paths:
        with readable(path):
            if not path.exists():
                raise UsageError(f"{shown(str(path), 500)} does not exist", "check the path")
        found = _in_folder(path, is_tool=is_tool) if path.is_dir() else [path]
        for file in found:
            files.setdefault(os.path.realpath(file), file)
    if not files:
        raise UsageError("there is nothing to load", "name a file or a folder")
    return list(files.values())


def _left_out(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files of folders that are of a kind that could be read, but named for no data set."""
    folders = (path for path in paths if path.is_dir())
    return tuple(file for folder in folders for file in _readable_files(folder) if not dataset_named(file.stem))


def _readable_files(folder: Path) -> list[Path]:
    with readable(folder):
        return [file for file in sorted(folder.iterdir()) if file.suffix.casefold() in SUFFIXES]


def _in_folder(folder: Path, *, is_tool: bool) -> list[Path]:
    files = _readable_files(folder)
    if not is_tool:
        files = [file for file in files if dataset_named(file.stem)]
    if not files:
        raise fault(
            folder,
            "holds no data set",
            f"name its files {', '.join(COLUMNS)}, each .csv, .jsonl or .parquet; name a tool's own export by its file",
        )
    return files


def _source(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    as_: str,
    formats: Sequence[ToolFormat],
) -> _Source:
    """Return a file with its columns and what they make it."""
    with readable(path):
        if path.is_dir():
            raise fault(path, "is a folder, not a file", "move it away")
        if not stat.S_ISREG(path.stat().st_mode):
            raise fault(path, "is not a regular file", "name a file; copy what comes from a pipe into one first")
    if any("\ud800" <= letter <= "\udfff" for letter in str(path.absolute())):
        raise fault(path, "has a name that is not UTF-8", "rename it")
    match path.suffix.casefold():
        case ".parquet":
            table = parquet_files.columns(connection, path)
        case ".jsonl":
            table = jsonl_files.columns(path)
        case _:
            table = csv_files.columns(path, _known(formats))
    _check_names(table)
    names = frozenset(table.places)
    tools = [tool for tool in formats if as_ in ("auto", tool.name)]
    named = dataset_named(path.stem) if as_ in ("auto", "canonical") else None
    if named and (names.issuperset(REQUIRED[named]) or (table.kind == "jsonl" and not names)):
        return _Source(table, named)
    fitting = [tool for tool in tools if tool.recognises(names)]
    if fitting:
        return _Source(table, "time_logs", max(fitting, key=lambda tool: len(names.intersection(tool.columns))))
    by_columns = dataset_with(names) if as_ in ("auto", "canonical") and not named else None
    if by_columns:
        return _Source(table, by_columns)
    raise _unrecognised(table, named or dataset_named(path.stem, marks=".-_ "), as_, tools)


def _known(formats: Sequence[ToolFormat]) -> frozenset[str]:
    canonical = {name for columns in COLUMNS.values() for name in columns}
    return frozenset(canonical.union(*(tool.columns for tool in formats)))


def _check_names(table: Table) -> None:
    seen: set[str] = set()
    for name in filter(None, table.names):
        if name.casefold() in seen:
            raise fault(table.path, f"has two columns named {shown(name)!r}", "give each column its own name")
        seen.add(name.casefold())


def _unrecognised(table: Table, named: str | None, as_: str, tools: Sequence[ToolFormat]) -> Exception:
    """Return the error that names what the file lacks to be what it most looks like."""
    names = frozenset(table.places)
    what = {tool.title: (tool.lacks(names), len(names.intersection(tool.columns))) for tool in tools}
    if as_ in ("auto", "canonical"):
        for dataset, required in REQUIRED.items():
            lacking = [name for name in required if name not in names]
            what[dataset] = (lacking, len(names.intersection(COLUMNS[dataset])))
    looks_like = named if named in what else max(what, key=lambda title: (what[title][1], -len(what[title][0])))
    lacking, known_count = what[looks_like]
    found = ", ".join(shown(name, 30) or "(no name)" for name in table.names[:20]) or "none"
    found += ", …" if len(table.names) > 20 else ""  # noqa: PLR2004  enough to recognise a file by
    if not known_count and table.kind == "csv" and not named and as_ == "auto":
        return fault(
            table.path,
            f"has no header ABR knows; its first line reads: {found}",
            "its first line must name the columns of a canonical data set or of a tool's export",
        )
    header = "" if known_count or table.kind != "csv" else "has no header, or "
    columns = "column" if len(lacking) == 1 else "columns"
    return fault(
        table.path,
        f"{header}lacks the {columns} {', '.join(lacking)} that {looks_like} must have; found: {found}",
        "add what is missing, or name the format with --as",
    )
