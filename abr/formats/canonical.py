"""The six canonical data sets: their columns, which of them a file must have, and the names their files go by."""

from __future__ import annotations

from typing import Final

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "contracts": (
        "contract_id",
        "client",
        "currency",
        "billing_model",
        "starts_on",
        "ends_on",
        "rounding_minutes",
        "rounding_mode",
        "rounding_unit",
        "minimum_minutes",
        "overtime_after_minutes",
        "overtime_multiplier",
        "weekend_multiplier",
        "prepaid_minutes",
        "prepaid_period",
        "cap_minutes",
        "cap_amount",
        "cap_period",
        "discount_percent",
        "grace_days",
        "grace_from",
        "threshold_amount",
    ),
    "projects": ("project_id", "contract_id", "name", "is_billable"),
    "rates": ("contract_id", "project_id", "person", "role", "task", "hourly_rate", "valid_from", "valid_to"),
    "time_logs": (
        "time_log_id",
        "project_id",
        "person",
        "role",
        "task",
        "worked_on",
        "seconds",
        "minutes",
        "hours",
        "duration",
        "is_billable",
        "is_approved",
        "entered_at",
        "note",
    ),
    "invoices": ("invoice_id", "contract_id", "currency", "issued_on", "status"),
    "invoice_lines": (
        "invoice_id",
        "line_no",
        "kind",
        "time_log_id",
        "project_id",
        "person",
        "role",
        "task",
        "period_start",
        "period_end",
        "seconds",
        "minutes",
        "hours",
        "duration",
        "net_amount",
    ),
}

REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "contracts": ("contract_id", "client", "currency", "starts_on"),
    "projects": ("project_id", "contract_id"),
    "rates": ("contract_id", "hourly_rate", "valid_from"),
    "time_logs": ("time_log_id",),
    "invoices": ("invoice_id", "contract_id", "currency", "status"),
    "invoice_lines": ("invoice_id", "line_no", "net_amount"),
}

DATES: Final = frozenset(
    {"starts_on", "ends_on", "valid_from", "valid_to", "worked_on", "issued_on", "period_start", "period_end"},
)


def dataset_named(stem: str, marks: str = ".-") -> str | None:
    """Return the data set a file's name speaks of (`rates`, `rates-2025`, `rates.old`); None where it speaks of none.

    `marks` are the characters that may follow the data set's name.
    """
    stem = stem.casefold()
    for dataset in COLUMNS:
        if stem == dataset or (stem.startswith(dataset) and stem[len(dataset)] in marks):
            return dataset
    return None


def dataset_with(names: frozenset[str]) -> str | None:
    """Return the data set whose required columns are all among `names`, the most demanding one; None if there is none.

    An invoice line names a time log, so it could pass for one: what asks for more columns comes first.
    """
    fitting = [dataset for dataset, required in REQUIRED.items() if names.issuperset(required)]
    return max(fitting, key=lambda dataset: (len(REQUIRED[dataset]), len(names & set(COLUMNS[dataset]))), default=None)
