"""Toggl Track's detailed report, exported as CSV.

Toggl gives an entry no id, so its id is a hash of who, when, how long and on what. A project is known by its name. It
is `Client / Project` where that is a project's id in the books, and where two projects of the load share a name (one
without a client keeps the bare name): what an entry belongs to must not depend on which others a week has.
The client is not part of the id: an entry keeps its id when another client's project of that name turns up, and is
superseded under the new name.
"""

from __future__ import annotations

from typing import Final

from abr.formats.tools import KNOWN_PROJECT, ToolFormat, trimmed

_PERSON = f"coalesce(nullif({trimmed('email')}, ''), {trimmed('user')})"
_CLIENT = trimmed("client")
_PROJECT = trimmed("project")
_IN_FULL = f"{_CLIENT} || ' / ' || {_PROJECT}"
_IS_SHARED = f"min({_CLIENT}) over (partition by {_PROJECT}) <> max({_CLIENT}) over (partition by {_PROJECT})"
_IS_KNOWN = f"{_IN_FULL} in (select project_id from temp.{KNOWN_PROJECT})"

FORMAT: Final = ToolFormat(
    name="toggl",
    title="Toggl Track's detailed CSV export",
    required=(("start date",), ("duration",), ("project",), ("email", "user")),
    optional=("client", "task", "description", "billable", "start time"),
    cells={
        "project_id": (
            f"case when {_PROJECT} <> '' and {_CLIENT} <> '' and ({_IS_KNOWN} or {_IS_SHARED}) then {_IN_FULL} "
            'else "project" end'
        ),
        "person": _PERSON,
        "task": '"task"',
        "worked_on": '"start date"',
        "duration": '"duration"',
        "is_billable": '"billable"',
        "note": '"description"',
    },
    key=(
        _PERSON,
        trimmed("start date"),
        trimmed("start time"),
        trimmed("duration"),
        _PROJECT,
        trimmed("task"),
        trimmed("description"),
    ),
)
