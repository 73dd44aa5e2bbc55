"""Everything ABR refuses to do, each with the exit code the command line ends with.

A message names what failed and where; `remedy` says what to do about it. Faults in data are rows, never exceptions.
"""

from __future__ import annotations

from typing import ClassVar


class ABRError(Exception):
    """The base of every error ABR raises on purpose. Exit code 1."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(ABRError):
    """Something asked for cannot be done as asked: a path that does not exist, a date in the past. Exit code 2."""

    exit_code = 2


class MirrorError(ABRError):
    """The PostgreSQL mirror cannot be reached (`is_away`), or refuses what it was asked. Exit code 1."""

    def __init__(self, message: str, remedy: str = "", *, is_away: bool = False) -> None:
        super().__init__(message, remedy)
        self.is_away = is_away


class DataIntegrityError(ABRError):
    """A source failed, or ABR's own figures do not add up: nothing was written. Exit code 3, shown as a HALT."""

    exit_code = 3


class ContractComplianceError(ABRError):
    """Strict mode met a contract that cannot be trusted or was overrun. Exit code 3, shown as a HALT."""

    exit_code = 3


class DatabaseBusy(ABRError):  # noqa: N818  it is a state, as in "the database is busy"
    """Another process has the database open. Exit code 4."""

    exit_code = 4


class SchemaMismatch(ABRError):  # noqa: N818  it is a state, not a failure
    """The database's schema is older or newer than this program. Exit code 5."""

    exit_code = 5


class NotPublished(ABRError):  # noqa: N818  it is a state: readers have no copy, or not the newest
    """The copy for readers is not there or cannot be written; the database itself is unharmed. Exit code 1."""

    exit_code = 1
