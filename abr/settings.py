"""What can be set, and where each value came from: flag, environment, abr.toml in the working directory, default.

Amounts never pass through a float: abr.toml's numbers are read as exact decimals. Nothing here opens the database.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from abr.exceptions import UsageError

TOML_FILE = "abr.toml"
ENVIRONMENT_PREFIX = "ABR_"
DATABASE_PREFIX = "duckdb:///"
FLAGS = {  # of those that have one
    "database_url": "--database",
    "interval_seconds": "--interval",
    "threshold_amount": "--threshold",
    "inbox": "--inbox",
}
REMEDIES = {
    "database_url": "give a file such as abr.duckdb, or duckdb:///abr.duckdb",
    "interval_seconds": "give seconds between two cycles, such as 5",
    "threshold_amount": "give amounts such as 1500.00 or 1500.00,JPY=220000",
    "time_zone": "give an IANA name such as Europe/Berlin or UTC",
    "memory_limit": "give a size such as 4GB",
    "inbox": "give the folder that files are dropped into",
    "published_group": "give the name of a group of this machine",
    "mirror_url": "give postgresql+psycopg://user:password@host:5432/database",
}

_AMOUNT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_CURRENCY = re.compile(r"[A-Z]{3}")
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?B)", re.IGNORECASE)
_MEMORY_NUMBER_LIMIT = 1e6  # of any unit; DuckDB takes no more than 2^63 bytes, and a million TB are fewer
_INTERVAL_SECONDS_MAX = 86_400
_AMOUNT_MAX = Decimal(10) ** 14  # DECIMAL(18, 4) holds no more


@dataclass(frozen=True)
class Thresholds:
    """From which leakage on a contract is flagged: one amount for every currency, and exceptions."""

    default_amount: Decimal
    amount_by_currency: Mapping[str, Decimal] = field(default_factory=dict)

    def of(self, currency: str | None) -> Decimal:
        """Return the threshold of a contract in this currency that names none itself."""
        return self.amount_by_currency.get(currency or "", self.default_amount)

    def __str__(self) -> str:
        named = (f"{currency}={_plain(amount)}" for currency, amount in sorted(self.amount_by_currency.items()))
        return ",".join([_plain(self.default_amount, always_decimals=True), *named])


def thresholds(value: object) -> Thresholds:
    """Return what `1500.00` or `1500.00,JPY=220000` says, exactly; ValueError says what is wrong with it."""
    if isinstance(value, Thresholds):
        return value
    first, *rest = (part.strip() for part in str(value).split(","))
    by_currency: dict[str, Decimal] = {}
    for part in rest:
        currency, equals, amount = (piece.strip() for piece in part.partition("="))
        if not equals or not _CURRENCY.fullmatch(currency):
            raise ValueError(f"has {part!r} where a currency and its amount belong")
        if currency in by_currency:
            raise ValueError(f"names {currency} twice")
        by_currency[currency] = _amount(amount)
    return Thresholds(_amount(first), by_currency)


def local_time_zone() -> str:
    """Return the IANA name of this machine's time zone, or UTC where it cannot be told."""
    candidates = [os.environ.get("TZ", "").removeprefix(":")]
    try:
        candidates.append(str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")[2])
        candidates.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        pass
    for candidate in candidates:
        name = candidate.rpartition("/zoneinfo/")[2]
        for prefix in ("posix/", "right/"):
            name = name.removeprefix(prefix)
        if _is_time_zone(name):
            return "UTC" if name in {"Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Universal"} else name
    return "UTC"


def _amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"has {text!r} where an amount belongs")
    amount = Decimal(text)
    if amount < 0:
        raise ValueError("is negative")
    if amount >= _AMOUNT_MAX:
        raise ValueError("is too large")
    if amount * 10_000 % 1:
        raise ValueError("has more than 4 decimals")
    return abs(amount)  # no -0


def _plain(amount: Decimal, *, always_decimals: bool = False) -> str:
    """Return the amount in one spelling, so that 1500, 1500.0 and 1500.00 are stored as the same setting."""
    text = f"{amount:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if "." in text or always_decimals:
        whole, _, decimals = text.partition(".")
        text = f"{whole}.{decimals:0<2}"
    return text


def _interval_seconds(value: object) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise ValueError("is not a number of seconds")
    if not 0 < seconds <= _INTERVAL_SECONDS_MAX:
        raise ValueError("is not above 0 and at most a day")
    return seconds


def _is_time_zone(name: str) -> bool:
    if not name or name == "localtime":  # Debian keeps a link of that name among the zones
        return False
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _time_zone(value: object) -> str:
    if not isinstance(value, str) or not _is_time_zone(value):
        raise ValueError("is not a time zone")
    return value


def _memory_limit(value: object) -> str | None:
    if value is None:
        return None
    match = _MEMORY.fullmatch(str(value))
    if not match or not 0 < float(match[1]) < _MEMORY_NUMBER_LIMIT:
        raise ValueError("is not a size")
    return match[1] + match[2]


def _database_url(value: object) -> str:
    text = os.fspath(value) if isinstance(value, Path) else value
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ValueError("is not a database")
    if "://" not in text:
        if "?" in text:
            raise ValueError("has a question mark in its name, behind which a URL has its options")
        try:
            return DATABASE_PREFIX + os.fspath(Path(text).expanduser())
        except RuntimeError:
            raise ValueError("is in the home of somebody who is not known here") from None
    if not text.startswith(DATABASE_PREFIX):
        raise ValueError("is not a DuckDB file")
    if not text.removeprefix(DATABASE_PREFIX).partition("?")[0]:
        raise ValueError("names no file")
    return text


def _inbox(value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("is not a folder")
    return Path(value).expanduser()


def _group(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("is not a group")
    return value.strip()


def _mirror_url(value: object) -> str | None:
    """Return the URL as given. What is wrong with it is said without showing it: it may hold a password."""
    if value is None:
        return None
    try:
        url = make_url(str(value))
    except (ArgumentError, ValueError):
        raise ValueError("is not a URL") from None
    if url.drivername not in {"postgresql", "postgresql+psycopg"}:
        raise ValueError("is not a PostgreSQL URL")
    if not url.database:
        raise ValueError("names no database")
    return str(value)


def masked_url(url: str) -> str:
    """Return the URL without the password in it."""
    parsed = make_url(url)
    hidden = {name: "***" for name in parsed.query if "password" in name}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


class Settings(BaseSettings):
    """Every setting, checked. Made by load_settings, which also remembers where each value came from."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    database_url: Annotated[str, BeforeValidator(_database_url)] = "duckdb:///abr.duckdb"
    interval_seconds: Annotated[float, BeforeValidator(_interval_seconds)] = 5.0
    threshold_amount: Annotated[Thresholds, NoDecode, BeforeValidator(thresholds)] = Thresholds(Decimal("1500.00"))
    time_zone: Annotated[str, BeforeValidator(_time_zone)] = Field(default_factory=local_time_zone)
    memory_limit: Annotated[str | None, BeforeValidator(_memory_limit)] = None
    inbox: Annotated[Path | None, BeforeValidator(_inbox)] = None
    published_group: Annotated[str | None, BeforeValidator(_group)] = None
    mirror_url: Annotated[str | None, BeforeValidator(_mirror_url)] = Field(default=None, repr=False)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  pydantic's signature; ABR reads no .env
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _toml_values())


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings; flags are by setting name, None where not given. UsageError names a bad one."""
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    toml = _toml_values()
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        origin = _origin(name, given, toml)
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{name} in {origin} is not a setting", _did_you_mean(name)) from None
        problem = str(first.get("ctx", {}).get("error", first["msg"]))
        shown = "" if name == "mirror_url" else f" {str(first['input'])!r}"
        raise UsageError(f"{name}{shown} ({origin}) {problem}", REMEDIES[name]) from None
    settings._origins.update({name: _origin(name, given, toml) for name in Settings.model_fields})  # noqa: SLF001  ours
    return settings


def on_database(settings: Settings, database_url: str, origin: str) -> Settings:
    """Return the same settings on another database, with the reason as its origin (the demo is one)."""
    other = settings.model_copy(update={"database_url": _database_url(database_url)}, deep=True)
    other._origins["database_url"] = origin  # noqa: SLF001  ours
    return other


def origins(settings: Settings) -> dict[str, str]:
    """Return where each value came from: 'flag --database', 'environment ABR_DATABASE_URL', 'abr.toml', 'default'."""
    return {name: settings._origins.get(name, "default") for name in Settings.model_fields}  # noqa: SLF001  ours


def settings_rows(settings: Settings) -> list[dict[str, str | None]]:
    """Return one row per setting for `abr settings`: setting, value, origin."""
    values: dict[str, str | None] = {
        "database_url": settings.database_url,
        "interval_seconds": f"{settings.interval_seconds:.15g}",
        "threshold_amount": str(settings.threshold_amount),
        "time_zone": settings.time_zone,
        "memory_limit": settings.memory_limit,
        "inbox": None if (inbox := inbox_path(settings)) is None else str(inbox),
        "published_group": settings.published_group,
        "mirror_url": None if settings.mirror_url is None else masked_url(settings.mirror_url),
    }
    came_from = origins(settings)
    return [{"setting": name, "value": value, "origin": came_from[name]} for name, value in values.items()]


def result_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that change results, in one spelling each; stored with every run."""
    return {"threshold_amount": str(settings.threshold_amount), "time_zone": settings.time_zone}


def database_path(settings: Settings) -> Path | None:
    """Return the database file, or None for a database in memory."""
    path = settings.database_url.removeprefix(DATABASE_PREFIX).partition("?")[0]
    return None if path == ":memory:" else Path(path)


def inbox_path(settings: Settings) -> Path | None:
    """Return the folder that files are dropped into: as set, else `<database>.inbox`; None beside a memory database."""
    database = database_path(settings)
    if settings.inbox is not None or database is None:
        return settings.inbox
    return database.with_name(database.name + ".inbox")


def today(settings: Settings, now: datetime) -> date:
    """Return the date it is at `now` in the configured time zone; a `now` without a zone is UTC."""
    aware = now if now.tzinfo else now.replace(tzinfo=UTC)
    return aware.astimezone(ZoneInfo(settings.time_zone)).date()


def unknown_environment() -> list[str]:
    """Return the ABR_ variables that name no setting, most likely misspelt."""
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(
        name for name in os.environ if name.upper().startswith(ENVIRONMENT_PREFIX) and name.upper() not in known
    )


def _toml_values() -> dict[str, Any]:
    """Return what abr.toml in the working directory says, numbers as exact decimals; nothing without the file."""
    try:
        return tomllib.loads(Path(TOML_FILE).read_text(encoding="utf-8"), parse_float=Decimal)
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{TOML_FILE} cannot be read: {error}", "correct that line, or move the file away") from None
    except UnicodeDecodeError:
        raise UsageError(f"{TOML_FILE} is not UTF-8 text", "save it as UTF-8, or move the file away") from None
    except OSError as error:
        raise UsageError(f"{TOML_FILE} cannot be read: {error.strerror}", "correct that, or move it away") from None


def _origin(name: str, flags: Mapping[str, Any], toml: Mapping[str, Any]) -> str:
    if name in flags:
        return f"flag {FLAGS.get(name, name)}"
    variable = ENVIRONMENT_PREFIX + name.upper()
    if any(key.upper() == variable and value for key, value in os.environ.items()):
        return f"environment {variable}"
    return TOML_FILE if name in toml else "default"


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return "there are " + ", ".join(Settings.model_fields)
