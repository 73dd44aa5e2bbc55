"""The dashboard bundle for Apache Superset: the templates in superset/, with where the report views are filled in.

The same question gives the same bytes. A password never enters the bundle: Superset's own mask stands in its place,
which is what makes the importer ask for it. The two flavours have ids of their own, so one Superset can hold both.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from abr.exceptions import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD_MASK = "XXXXXXXXXX"  # noqa: S105  Superset's word for "ask"
_ROOT = "abr"  # Superset drops the first folder of every name
_TIMESTAMP = (2026, 1, 1, 0, 0, 0)
_READ_ONLY = "access_mode"
_REMEDY = "give postgresql://USER@HOST:5432/DATABASE, or duckdb:////PATH/current/abr_audit.duckdb"
_SECRETS = ("password", "passfile", "sslpassword", "motherduck_token")


@dataclass(frozen=True)
class Flavour:
    """Where the report views are read from, and what keeps its charts apart from the other flavour's."""

    id_prefix: str
    schema: str
    database_name: str
    dashboard_title: str
    slug: str


DUCKDB = Flavour("abd0cdb0", "report", "ABR", "Unbilled revenue", "abr")
POSTGRESQL = Flavour("ab905700", "abr", "ABR mirror", "Unbilled revenue (mirror)", "abr-mirror")


def copy_uri(published: Path) -> str:
    """Return the SQLAlchemy URI of the published copy; the path must be absolute, or Superset looks beside itself."""
    path = os.fspath(published.absolute())
    if "?" in path or not path.isprintable():
        raise UsageError(
            f"{path!r} cannot stand in a database URI", "move the database to a path without such characters"
        )
    return f"duckdb:///{path}?{_READ_ONLY}=read_only"


def mirror_uri(mirror_url: str, user: str) -> str:
    """Return the URI of the mirror for someone who reads it; the mirror's own URL is that of the one who writes it."""
    url = _parsed(mirror_url)
    # Made anew: setting a password to None leaves it.
    reader = URL.create(url.drivername, user, None, url.host, url.port, url.database, url.query)
    return reader.render_as_string(hide_password=False)


def bundle(sqlalchemy_uri: str) -> bytes:
    """Return the zip file that Superset imports, for the DuckDB copy or the PostgreSQL mirror the URI leads to."""
    flavour, uri = _understood(sqlalchemy_uri)
    values = {
        "flavour": flavour.id_prefix,
        "schema": flavour.schema,
        "slug": flavour.slug,
        # Whatever text may hold: JSON's strings are YAML's too.
        "database_name": json.dumps(flavour.database_name),
        "dashboard_title": json.dumps(flavour.dashboard_title),
        "sqlalchemy_uri": json.dumps(uri),
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in templates():
            entry = zipfile.ZipInfo(f"{_ROOT}/{name}", _TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # the same bytes on every system
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, Template(text).substitute(values))
    return written.getvalue()


def write(content: bytes, path: Path, *, overwrite: bool) -> None:
    """Write the bundle to a file, whole or not at all."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already", "name another file, or add --force to replace it")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "name a file, such as abr.zip")
    try:
        handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(unfinished).chmod(0o644)
            Path(unfinished).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(unfinished).unlink()
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "name another file") from error


def templates() -> Iterator[tuple[str, str]]:
    """Yield every template by its name in the bundle, in order."""
    root = resources.files("abr") / "superset"
    yield from sorted(_below(root, ""))


def _below(folder: Traversable, name: str) -> Iterator[tuple[str, str]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _below(item, f"{name}{item.name}/")
        elif item.name.endswith(".yaml"):
            yield name + item.name, item.read_text("utf-8")


def _understood(sqlalchemy_uri: str) -> tuple[Flavour, str]:
    """Return the flavour, and the URI as Superset should have it."""
    url = _parsed(sqlalchemy_uri).difference_update_query(_SECRETS)
    backend = url.get_backend_name()
    if backend == "duckdb":
        if not url.database or not url.database.startswith("/"):
            raise UsageError("the SQLAlchemy URI names no absolute path of a DuckDB file", _REMEDY)
        return DUCKDB, _shown(url.update_query_dict({_READ_ONLY: "read_only"}))
    if backend == "postgresql":
        if not url.database:
            raise UsageError("the SQLAlchemy URI names no database", _REMEDY)
        # Superset brings psycopg2, under the plain name; ABR itself writes with psycopg.
        return POSTGRESQL, _shown(url.set(drivername="postgresql"))
    raise UsageError(f"the SQLAlchemy URI is for {backend}, and ABR is read from DuckDB or PostgreSQL", _REMEDY)


def _parsed(sqlalchemy_uri: str) -> URL:
    try:
        return make_url(sqlalchemy_uri)
    except (ArgumentError, ValueError):
        # Not quoted: a password may be in it.
        raise UsageError("the SQLAlchemy URI cannot be read", _REMEDY) from None


def _shown(url: URL) -> str:
    asked = url.set(password=PASSWORD_MASK) if url.username and url.get_backend_name() == "postgresql" else url
    return asked.render_as_string(hide_password=False)
