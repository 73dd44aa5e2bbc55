"""The first schema: tables in source and audit, and the views that compute everything from them.

Revision ID: 7d1c0a4e92b5
Revises:
"""

from alembic import op

revision = "7d1c0a4e92b5"
down_revision = None

SCHEMAS = (
    "source",
    "audit",
    "staging",
    "quarantine_rules",
    "reference_rules",
    "coverage_rules",
    "matching",
    "pricing",
    "billing",
    "finding_rules",
    "work",
    "reconcile",
    "report",
)

TABLES = (
    """\
CREATE TABLE audit.balance_open (
    home_hash INTEGER NOT NULL,
    contract_id VARCHAR NOT NULL,
    week DATE,
    rounded_seconds BIGINT NOT NULL,
    unpaid_seconds BIGINT NOT NULL,
    amount_minor BIGINT NOT NULL,
    fixed_seconds BIGINT NOT NULL,
    expected_minor BIGINT NOT NULL,
    billed_minor BIGINT NOT NULL,
    unbilled_seconds BIGINT NOT NULL,
    quarantined_seconds BIGINT NOT NULL
)""",
    """\
CREATE TABLE audit.finding (
    run_id BIGINT NOT NULL,
    opened_run_id BIGINT NOT NULL,
    home_hash INTEGER NOT NULL,
    finding_id VARCHAR NOT NULL,
    contract_id VARCHAR NOT NULL,
    client VARCHAR,
    currency VARCHAR,
    side VARCHAR NOT NULL,
    class VARCHAR NOT NULL,
    about VARCHAR NOT NULL,
    project_id VARCHAR,
    person VARCHAR,
    role VARCHAR,
    task VARCHAR,
    worked_on DATE,
    seconds BIGINT,
    hourly_rate NUMERIC(18, 4),
    expected_amount NUMERIC(18, 4),
    billed_amount NUMERIC(18, 4),
    amount NUMERIC(18, 4),
    invoice_ids VARCHAR,
    due_on DATE,
    state VARCHAR NOT NULL
)""",
    """\
CREATE TABLE audit.finding_open (
    run_id BIGINT NOT NULL,
    opened_run_id BIGINT NOT NULL,
    home_hash INTEGER NOT NULL,
    finding_id VARCHAR NOT NULL,
    contract_id VARCHAR NOT NULL,
    client VARCHAR,
    currency VARCHAR,
    side VARCHAR NOT NULL,
    class VARCHAR NOT NULL,
    about VARCHAR NOT NULL,
    project_id VARCHAR,
    person VARCHAR,
    role VARCHAR,
    task VARCHAR,
    worked_on DATE,
    seconds BIGINT,
    hourly_rate NUMERIC(18, 4),
    expected_amount NUMERIC(18, 4),
    billed_amount NUMERIC(18, 4),
    amount NUMERIC(18, 4),
    invoice_ids VARCHAR,
    due_on DATE
)""",
    """\
CREATE TABLE audit.invoice_span_open (
    home_hash INTEGER NOT NULL,
    contract_id VARCHAR NOT NULL,
    invoice_id VARCHAR NOT NULL,
    first_day DATE NOT NULL,
    last_day DATE NOT NULL
)""",
    """\
CREATE TABLE audit.log_count_open (
    home_hash INTEGER NOT NULL,
    project_id VARCHAR NOT NULL,
    week DATE,
    logs_received BIGINT NOT NULL,
    logs_eligible BIGINT NOT NULL,
    logs_quarantined BIGINT NOT NULL,
    logs_excluded BIGINT NOT NULL,
    logs_out_of_term BIGINT NOT NULL
)""",
    """\
CREATE TABLE audit.position (
    run_id BIGINT NOT NULL,
    home_hash INTEGER NOT NULL,
    contract_id VARCHAR NOT NULL,
    client VARCHAR,
    currency VARCHAR,
    billing_model VARCHAR NOT NULL,
    expected_amount NUMERIC(18, 4) NOT NULL,
    billed_amount NUMERIC(18, 4) NOT NULL,
    leakage_amount NUMERIC(18, 4) NOT NULL,
    written_off_amount NUMERIC(18, 4) NOT NULL,
    overbilled_amount NUMERIC(18, 4) NOT NULL,
    exposure_amount NUMERIC(18, 4) NOT NULL,
    pending_amount NUMERIC(18, 4) NOT NULL,
    noise_amount NUMERIC(18, 4) NOT NULL,
    other_billed_amount NUMERIC(18, 4) NOT NULL,
    unbilled_hours NUMERIC(18, 4) NOT NULL,
    quarantined_hours NUMERIC(18, 4) NOT NULL,
    quarantined_line_count BIGINT NOT NULL,
    threshold_amount NUMERIC(18, 4) NOT NULL,
    is_flagged BOOLEAN NOT NULL,
    severity VARCHAR NOT NULL,
    oldest_leakage_on DATE,
    state VARCHAR NOT NULL
)""",
    """\
CREATE TABLE audit.position_open (
    run_id BIGINT NOT NULL,
    home_hash INTEGER NOT NULL,
    contract_id VARCHAR NOT NULL,
    client VARCHAR,
    currency VARCHAR,
    billing_model VARCHAR NOT NULL,
    expected_amount NUMERIC(18, 4) NOT NULL,
    billed_amount NUMERIC(18, 4) NOT NULL,
    leakage_amount NUMERIC(18, 4) NOT NULL,
    written_off_amount NUMERIC(18, 4) NOT NULL,
    overbilled_amount NUMERIC(18, 4) NOT NULL,
    exposure_amount NUMERIC(18, 4) NOT NULL,
    pending_amount NUMERIC(18, 4) NOT NULL,
    noise_amount NUMERIC(18, 4) NOT NULL,
    other_billed_amount NUMERIC(18, 4) NOT NULL,
    unbilled_hours NUMERIC(18, 4) NOT NULL,
    quarantined_hours NUMERIC(18, 4) NOT NULL,
    quarantined_line_count BIGINT NOT NULL,
    threshold_amount NUMERIC(18, 4) NOT NULL,
    is_flagged BOOLEAN NOT NULL,
    severity VARCHAR NOT NULL,
    oldest_leakage_on DATE
)""",
    """\
CREATE TABLE audit.quarantine (
    run_id BIGINT NOT NULL,
    opened_run_id BIGINT NOT NULL,
    contract_hash INTEGER NOT NULL,
    quarantine_id VARCHAR NOT NULL,
    row_id BIGINT NOT NULL,
    home VARCHAR NOT NULL,
    entity VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    contract_id VARCHAR,
    client VARCHAR,
    reasons VARCHAR NOT NULL,
    detail VARCHAR,
    source VARCHAR NOT NULL,
    raw VARCHAR NOT NULL,
    seconds BIGINT,
    worked_on DATE,
    state VARCHAR NOT NULL,
    waived_by VARCHAR,
    waived_reason VARCHAR
)""",
    """\
CREATE TABLE audit.quarantine_open (
    run_id BIGINT NOT NULL,
    opened_run_id BIGINT NOT NULL,
    contract_hash INTEGER NOT NULL,
    quarantine_id VARCHAR NOT NULL,
    row_id BIGINT NOT NULL,
    home VARCHAR NOT NULL,
    entity VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    contract_id VARCHAR,
    client VARCHAR,
    reasons VARCHAR NOT NULL,
    detail VARCHAR,
    source VARCHAR NOT NULL,
    raw VARCHAR NOT NULL,
    seconds BIGINT,
    worked_on DATE,
    state VARCHAR NOT NULL,
    waived_by VARCHAR,
    waived_reason VARCHAR
)""",
    """\
CREATE TABLE audit.run (
    run_id BIGINT NOT NULL,
    as_of DATE NOT NULL,
    started_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    status VARCHAR NOT NULL,
    error VARCHAR,
    duration_ms BIGINT NOT NULL,
    logs_received BIGINT,
    logs_eligible BIGINT,
    logs_quarantined BIGINT,
    logs_excluded BIGINT,
    logs_out_of_term BIGINT,
    findings_opened BIGINT,
    findings_changed BIGINT,
    findings_closed BIGINT,
    rules_digest VARCHAR,
    settings VARCHAR
)""",
    """\
CREATE TABLE audit.waiver (
    waiver_id BIGINT NOT NULL,
    decided_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    quarantine_id VARCHAR NOT NULL,
    decided_by VARCHAR NOT NULL,
    reason VARCHAR NOT NULL
)""",
    """\
CREATE TABLE audit.write_off (
    write_off_id BIGINT NOT NULL,
    decided_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    finding_id VARCHAR NOT NULL,
    contract_id VARCHAR NOT NULL,
    accepted_amount NUMERIC(18, 4),
    decided_by VARCHAR NOT NULL,
    reason VARCHAR NOT NULL
)""",
    """\
CREATE TABLE source.change (
    load_id BIGINT,
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    from_day DATE,
    time_log_id VARCHAR
)""",
    """\
CREATE TABLE source.conflict (
    dataset VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    row_id BIGINT NOT NULL
)""",
    """\
CREATE TABLE source.contracts (
    row_id BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    started_load_id BIGINT NOT NULL,
    ended_load_id BIGINT,
    ended_by VARCHAR,
    odd_cells VARCHAR,
    raw VARCHAR,
    digest BIGINT NOT NULL,
    raw_digest BIGINT,
    key_hash INTEGER NOT NULL,
    contract_hash INTEGER NOT NULL,
    contract_id VARCHAR,
    client VARCHAR,
    currency VARCHAR,
    billing_model VARCHAR,
    starts_on DATE,
    ends_on DATE,
    rounding_minutes BIGINT,
    rounding_mode VARCHAR,
    rounding_unit VARCHAR,
    minimum_minutes BIGINT,
    overtime_after_minutes BIGINT,
    overtime_multiplier NUMERIC(9, 4),
    weekend_multiplier NUMERIC(9, 4),
    prepaid_minutes BIGINT,
    prepaid_period VARCHAR,
    cap_minutes BIGINT,
    cap_amount NUMERIC(18, 4),
    cap_period VARCHAR,
    discount_percent NUMERIC(9, 4),
    grace_days BIGINT,
    grace_from VARCHAR,
    threshold_amount NUMERIC(18, 4)
)""",
    """\
CREATE TABLE source.invoice_lines (
    row_id BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    started_load_id BIGINT NOT NULL,
    ended_load_id BIGINT,
    ended_by VARCHAR,
    odd_cells VARCHAR,
    raw VARCHAR,
    digest BIGINT NOT NULL,
    raw_digest BIGINT,
    key_hash INTEGER NOT NULL,
    contract_hash INTEGER NOT NULL,
    home_hash INTEGER NOT NULL,
    invoice_id VARCHAR,
    line_no BIGINT,
    kind VARCHAR,
    time_log_id VARCHAR,
    project_id VARCHAR,
    person VARCHAR,
    role VARCHAR,
    task VARCHAR,
    period_start DATE,
    period_end DATE,
    seconds BIGINT,
    duration_cell VARCHAR,
    net_amount NUMERIC(18, 4)
)""",
    """\
CREATE TABLE source.invoices (
    row_id BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    started_load_id BIGINT NOT NULL,
    ended_load_id BIGINT,
    ended_by VARCHAR,
    odd_cells VARCHAR,
    raw VARCHAR,
    digest BIGINT NOT NULL,
    raw_digest BIGINT,
    key_hash INTEGER NOT NULL,
    contract_hash INTEGER NOT NULL,
    home_hash INTEGER NOT NULL,
    invoice_id VARCHAR,
    contract_id VARCHAR,
    currency VARCHAR,
    issued_on DATE,
    status VARCHAR
)""",
    """\
CREATE TABLE source.load (
    load_id BIGINT NOT NULL,
    loaded_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    source VARCHAR NOT NULL,
    format VARCHAR NOT NULL,
    is_complete BOOLEAN NOT NULL,
    covers_from DATE,
    covers_to DATE,
    parameters VARCHAR,
    counts VARCHAR NOT NULL
)""",
    """\
CREATE TABLE source.projects (
    row_id BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    started_load_id BIGINT NOT NULL,
    ended_load_id BIGINT,
    ended_by VARCHAR,
    odd_cells VARCHAR,
    raw VARCHAR,
    digest BIGINT NOT NULL,
    raw_digest BIGINT,
    key_hash INTEGER NOT NULL,
    contract_hash INTEGER NOT NULL,
    home_hash INTEGER NOT NULL,
    project_id VARCHAR,
    contract_id VARCHAR,
    name VARCHAR,
    is_billable BOOLEAN
)""",
    """\
CREATE TABLE source.rates (
    row_id BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    started_load_id BIGINT NOT NULL,
    ended_load_id BIGINT,
    ended_by VARCHAR,
    odd_cells VARCHAR,
    raw VARCHAR,
    digest BIGINT NOT NULL,
    raw_digest BIGINT,
    key_hash INTEGER NOT NULL,
    contract_hash INTEGER NOT NULL,
    contract_id VARCHAR,
    project_id VARCHAR,
    person VARCHAR,
    role VARCHAR,
    task VARCHAR,
    hourly_rate NUMERIC(18, 4),
    valid_from DATE,
    valid_to DATE
)""",
    """\
CREATE TABLE source.time_logs (
    row_id BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    started_load_id BIGINT NOT NULL,
    ended_load_id BIGINT,
    ended_by VARCHAR,
    odd_cells VARCHAR,
    raw VARCHAR,
    digest BIGINT NOT NULL,
    raw_digest BIGINT,
    key_hash INTEGER NOT NULL,
    contract_hash INTEGER NOT NULL,
    home_hash INTEGER NOT NULL,
    time_log_id VARCHAR,
    project_id VARCHAR,
    person VARCHAR,
    role VARCHAR,
    task VARCHAR,
    worked_on DATE,
    seconds BIGINT,
    duration_cell VARCHAR,
    is_billable BOOLEAN,
    is_approved BOOLEAN,
    entered_at TIMESTAMP WITHOUT TIME ZONE,
    note VARCHAR
)""",
)

COMMENTS = (
    """COMMENT ON TABLE audit.balance_open IS 'One row per contract and week (from the 1st, 8th, 15th, 22nd or 29th on): what its logs of that week add up to, as of the newest run.'""",
    """COMMENT ON TABLE audit.finding IS 'One row per version of a finding: opened, changed or closed by a run.'""",
    """COMMENT ON TABLE audit.finding_open IS 'One row per open finding, equal to the newest version in audit.finding.'""",
    """COMMENT ON TABLE audit.invoice_span_open IS 'One row per live invoice whose lines speak of dates: the span of those dates, as of the newest run.'""",
    """COMMENT ON TABLE audit.log_count_open IS 'One row per project id and week (see balance_open): where its live time logs ended up, as of the newest run.'""",
    """COMMENT ON TABLE audit.position IS 'One row per version of a contract''s position.'""",
    """COMMENT ON TABLE audit.position_open IS 'One row per contract, equal to the newest version in audit.position.'""",
    """COMMENT ON TABLE audit.quarantine IS 'One row per version of a row set aside.'""",
    """COMMENT ON TABLE audit.quarantine_open IS 'One row per row set aside now, equal to the newest version in audit.quarantine.'""",
    """COMMENT ON TABLE audit.run IS 'One row per run, also those that halted.'""",
    """COMMENT ON TABLE audit.waiver IS 'One row per decision that a row in quarantine stays out.'""",
    """COMMENT ON TABLE audit.write_off IS 'One row per decision to accept a leakage finding, or to take that back.'""",
    """COMMENT ON TABLE source.change IS 'One row per contract, project or invoice that something touched and no run has looked at yet.'""",
    """COMMENT ON TABLE source.conflict IS 'One row per live row that shares its key with another live row of other content.'""",
    """COMMENT ON TABLE source.contracts IS 'One row per received version of a contract.'""",
    """COMMENT ON TABLE source.invoice_lines IS 'One row per received version of an invoice line.'""",
    """COMMENT ON TABLE source.invoices IS 'One row per received version of an invoice.'""",
    """COMMENT ON TABLE source.load IS 'One row per load: a file, a folder, an export or a cycle of the simulator.'""",
    """COMMENT ON TABLE source.projects IS 'One row per received version of a project under a contract.'""",
    """COMMENT ON TABLE source.rates IS 'One row per received version of an hourly rate.'""",
    """COMMENT ON TABLE source.time_logs IS 'One row per received version of a time log.'""",
    """COMMENT ON COLUMN audit.balance_open.home_hash IS 'number made of the contract id; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.balance_open.week IS 'its first day; NULL for logs without a date'""",
    """COMMENT ON COLUMN audit.balance_open.rounded_seconds IS 'what counts towards prepaid time'""",
    """COMMENT ON COLUMN audit.balance_open.unpaid_seconds IS 'what counts towards the hours cap'""",
    """COMMENT ON COLUMN audit.balance_open.amount_minor IS 'what counts towards the money cap, in minor units'""",
    """COMMENT ON COLUMN audit.balance_open.fixed_seconds IS 'what counts towards the cap of a fixed price'""",
    """COMMENT ON COLUMN audit.balance_open.unbilled_seconds IS 'of leakage findings'""",
    """COMMENT ON COLUMN audit.balance_open.quarantined_seconds IS 'not waived'""",
    """COMMENT ON COLUMN audit.finding.run_id IS 'the run that wrote this version'""",
    """COMMENT ON COLUMN audit.finding.opened_run_id IS 'the run that opened the finding'""",
    """COMMENT ON COLUMN audit.finding.home_hash IS 'number made of the contract id; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.finding.finding_id IS 'hash of contract, class and about'""",
    """COMMENT ON COLUMN audit.finding.about IS 'log:id, line:invoice/number or pool:project|person|role|task|start|end, a backslash before a | of a text'""",
    """COMMENT ON COLUMN audit.finding.due_on IS 'when a not_due finding becomes leakage'""",
    """COMMENT ON COLUMN audit.finding.state IS 'open or closed'""",
    """COMMENT ON COLUMN audit.finding_open.run_id IS 'the run that wrote this version'""",
    """COMMENT ON COLUMN audit.finding_open.opened_run_id IS 'the run that opened the finding'""",
    """COMMENT ON COLUMN audit.finding_open.home_hash IS 'number made of the contract id; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.finding_open.finding_id IS 'hash of contract, class and about'""",
    """COMMENT ON COLUMN audit.finding_open.about IS 'log:id, line:invoice/number or pool:project|person|role|task|start|end, a backslash before a | of a text'""",
    """COMMENT ON COLUMN audit.finding_open.due_on IS 'when a not_due finding becomes leakage'""",
    """COMMENT ON COLUMN audit.invoice_span_open.home_hash IS 'number made of the contract id; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.log_count_open.home_hash IS 'number made of the project id; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.log_count_open.project_id IS 'empty for logs that name none'""",
    """COMMENT ON COLUMN audit.log_count_open.week IS 'its first day; NULL for logs without a date'""",
    """COMMENT ON COLUMN audit.position.run_id IS 'the run that wrote this version'""",
    """COMMENT ON COLUMN audit.position.home_hash IS 'number made of the contract id; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.position.severity IS 'critical, watch or ok'""",
    """COMMENT ON COLUMN audit.position.state IS 'open, or closed when the contract is gone'""",
    """COMMENT ON COLUMN audit.position_open.run_id IS 'the run that wrote this version'""",
    """COMMENT ON COLUMN audit.position_open.home_hash IS 'number made of the contract id; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.position_open.severity IS 'critical, watch or ok'""",
    """COMMENT ON COLUMN audit.quarantine.run_id IS 'the run that wrote this version'""",
    """COMMENT ON COLUMN audit.quarantine.opened_run_id IS 'the run that set the row aside'""",
    """COMMENT ON COLUMN audit.quarantine.contract_hash IS 'number made of the contract that the row or its owner had when the row was written, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.quarantine.quarantine_id IS 'hash of data set, source, key and content'""",
    """COMMENT ON COLUMN audit.quarantine.row_id IS 'the row in source'""",
    """COMMENT ON COLUMN audit.quarantine.home IS 'the contract, project or invoice a run finds the row by'""",
    """COMMENT ON COLUMN audit.quarantine.entity IS 'data set'""",
    """COMMENT ON COLUMN audit.quarantine.reasons IS 'every reason, sorted, comma-separated'""",
    """COMMENT ON COLUMN audit.quarantine.raw IS 'JSON: the row''s cells'""",
    """COMMENT ON COLUMN audit.quarantine.worked_on IS 'of a time log'""",
    """COMMENT ON COLUMN audit.quarantine.state IS 'open, waived; in history also resolved or superseded'""",
    """COMMENT ON COLUMN audit.quarantine_open.run_id IS 'the run that wrote this version'""",
    """COMMENT ON COLUMN audit.quarantine_open.opened_run_id IS 'the run that set the row aside'""",
    """COMMENT ON COLUMN audit.quarantine_open.contract_hash IS 'number made of the contract that the row or its owner had when the row was written, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN audit.quarantine_open.quarantine_id IS 'hash of data set, source, key and content'""",
    """COMMENT ON COLUMN audit.quarantine_open.row_id IS 'the row in source'""",
    """COMMENT ON COLUMN audit.quarantine_open.home IS 'the contract, project or invoice a run finds the row by'""",
    """COMMENT ON COLUMN audit.quarantine_open.entity IS 'data set'""",
    """COMMENT ON COLUMN audit.quarantine_open.reasons IS 'every reason, sorted, comma-separated'""",
    """COMMENT ON COLUMN audit.quarantine_open.raw IS 'JSON: the row''s cells'""",
    """COMMENT ON COLUMN audit.quarantine_open.worked_on IS 'of a time log'""",
    """COMMENT ON COLUMN audit.quarantine_open.state IS 'open, waived; in history also resolved or superseded'""",
    """COMMENT ON COLUMN audit.run.started_at IS 'UTC'""",
    """COMMENT ON COLUMN audit.run.finished_at IS 'UTC'""",
    """COMMENT ON COLUMN audit.run.status IS 'ok or halted'""",
    """COMMENT ON COLUMN audit.run.rules_digest IS 'md5 of the views that computed the run'""",
    """COMMENT ON COLUMN audit.run.settings IS 'JSON: the settings that change results'""",
    """COMMENT ON COLUMN audit.waiver.decided_at IS 'UTC'""",
    """COMMENT ON COLUMN audit.write_off.decided_at IS 'UTC'""",
    """COMMENT ON COLUMN audit.write_off.accepted_amount IS 'NULL: taken back'""",
    """COMMENT ON COLUMN source.change.load_id IS 'NULL: a person''s decision (write-off, waiver)'""",
    """COMMENT ON COLUMN source.change.kind IS 'contract, project or invoice'""",
    """COMMENT ON COLUMN source.change.id IS 'its id; empty for rows that name none'""",
    """COMMENT ON COLUMN source.change.from_day IS 'what comes before the week of this day is as it was; NULL: anything may have changed'""",
    """COMMENT ON COLUMN source.change.time_log_id IS 'the time log that changed, where from_day is not NULL'""",
    """COMMENT ON COLUMN source.contracts.started_load_id IS 'the load that brought this version'""",
    """COMMENT ON COLUMN source.contracts.ended_load_id IS 'the load that ended it; NULL = live'""",
    """COMMENT ON COLUMN source.contracts.ended_by IS 'superseded or withdrawn'""",
    """COMMENT ON COLUMN source.contracts.odd_cells IS 'JSON: trimmed text of the cells that could not be read'""",
    """COMMENT ON COLUMN source.contracts.raw IS 'JSON: the cells as given, where the columns do not say it all'""",
    """COMMENT ON COLUMN source.contracts.digest IS 'hash of the cells, so that an edit behind ABR''s back shows'""",
    """COMMENT ON COLUMN source.contracts.raw_digest IS 'hash of raw'""",
    """COMMENT ON COLUMN source.contracts.key_hash IS 'number made of the key; a load looks its rows up by it'""",
    """COMMENT ON COLUMN source.contracts.contract_hash IS 'number made of the contract id, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.invoice_lines.started_load_id IS 'the load that brought this version'""",
    """COMMENT ON COLUMN source.invoice_lines.ended_load_id IS 'the load that ended it; NULL = live'""",
    """COMMENT ON COLUMN source.invoice_lines.ended_by IS 'superseded or withdrawn'""",
    """COMMENT ON COLUMN source.invoice_lines.odd_cells IS 'JSON: trimmed text of the cells that could not be read'""",
    """COMMENT ON COLUMN source.invoice_lines.raw IS 'JSON: the cells as given, where the columns do not say it all'""",
    """COMMENT ON COLUMN source.invoice_lines.digest IS 'hash of the cells, so that an edit behind ABR''s back shows'""",
    """COMMENT ON COLUMN source.invoice_lines.raw_digest IS 'hash of raw'""",
    """COMMENT ON COLUMN source.invoice_lines.key_hash IS 'number made of the key; a load looks its rows up by it'""",
    """COMMENT ON COLUMN source.invoice_lines.contract_hash IS 'number made of the contract that the invoice had when the row was written, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.invoice_lines.home_hash IS 'number made of the invoice id; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.invoice_lines.duration_cell IS 'the cell the seconds came in: seconds, minutes, hours or duration'""",
    """COMMENT ON COLUMN source.invoices.started_load_id IS 'the load that brought this version'""",
    """COMMENT ON COLUMN source.invoices.ended_load_id IS 'the load that ended it; NULL = live'""",
    """COMMENT ON COLUMN source.invoices.ended_by IS 'superseded or withdrawn'""",
    """COMMENT ON COLUMN source.invoices.odd_cells IS 'JSON: trimmed text of the cells that could not be read'""",
    """COMMENT ON COLUMN source.invoices.raw IS 'JSON: the cells as given, where the columns do not say it all'""",
    """COMMENT ON COLUMN source.invoices.digest IS 'hash of the cells, so that an edit behind ABR''s back shows'""",
    """COMMENT ON COLUMN source.invoices.raw_digest IS 'hash of raw'""",
    """COMMENT ON COLUMN source.invoices.key_hash IS 'number made of the key; a load looks its rows up by it'""",
    """COMMENT ON COLUMN source.invoices.contract_hash IS 'number made of the contract id, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.invoices.home_hash IS 'number made of the invoice id; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.load.loaded_at IS 'UTC'""",
    """COMMENT ON COLUMN source.load.source IS 'name of the source, never a path'""",
    """COMMENT ON COLUMN source.load.is_complete IS 'the load declared its data sets whole'""",
    """COMMENT ON COLUMN source.load.covers_from IS 'first day the load was complete for'""",
    """COMMENT ON COLUMN source.load.parameters IS 'JSON: what the simulator was told, or the request a load was handed over by'""",
    """COMMENT ON COLUMN source.load.counts IS 'JSON: rows read, new, superseded, unchanged, withdrawn by data set'""",
    """COMMENT ON COLUMN source.projects.started_load_id IS 'the load that brought this version'""",
    """COMMENT ON COLUMN source.projects.ended_load_id IS 'the load that ended it; NULL = live'""",
    """COMMENT ON COLUMN source.projects.ended_by IS 'superseded or withdrawn'""",
    """COMMENT ON COLUMN source.projects.odd_cells IS 'JSON: trimmed text of the cells that could not be read'""",
    """COMMENT ON COLUMN source.projects.raw IS 'JSON: the cells as given, where the columns do not say it all'""",
    """COMMENT ON COLUMN source.projects.digest IS 'hash of the cells, so that an edit behind ABR''s back shows'""",
    """COMMENT ON COLUMN source.projects.raw_digest IS 'hash of raw'""",
    """COMMENT ON COLUMN source.projects.key_hash IS 'number made of the key; a load looks its rows up by it'""",
    """COMMENT ON COLUMN source.projects.contract_hash IS 'number made of the contract id, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.projects.home_hash IS 'number made of the project id; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.rates.started_load_id IS 'the load that brought this version'""",
    """COMMENT ON COLUMN source.rates.ended_load_id IS 'the load that ended it; NULL = live'""",
    """COMMENT ON COLUMN source.rates.ended_by IS 'superseded or withdrawn'""",
    """COMMENT ON COLUMN source.rates.odd_cells IS 'JSON: trimmed text of the cells that could not be read'""",
    """COMMENT ON COLUMN source.rates.raw IS 'JSON: the cells as given, where the columns do not say it all'""",
    """COMMENT ON COLUMN source.rates.digest IS 'hash of the cells, so that an edit behind ABR''s back shows'""",
    """COMMENT ON COLUMN source.rates.raw_digest IS 'hash of raw'""",
    """COMMENT ON COLUMN source.rates.key_hash IS 'number made of the key; a load looks its rows up by it'""",
    """COMMENT ON COLUMN source.rates.contract_hash IS 'number made of the contract id, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.time_logs.started_load_id IS 'the load that brought this version'""",
    """COMMENT ON COLUMN source.time_logs.ended_load_id IS 'the load that ended it; NULL = live'""",
    """COMMENT ON COLUMN source.time_logs.ended_by IS 'superseded or withdrawn'""",
    """COMMENT ON COLUMN source.time_logs.odd_cells IS 'JSON: trimmed text of the cells that could not be read'""",
    """COMMENT ON COLUMN source.time_logs.raw IS 'JSON: the cells as given, where the columns do not say it all'""",
    """COMMENT ON COLUMN source.time_logs.digest IS 'hash of the cells, so that an edit behind ABR''s back shows'""",
    """COMMENT ON COLUMN source.time_logs.raw_digest IS 'hash of raw'""",
    """COMMENT ON COLUMN source.time_logs.key_hash IS 'number made of the key; a load looks its rows up by it'""",
    """COMMENT ON COLUMN source.time_logs.contract_hash IS 'number made of the contract that the project had when the row was written, 0 for none; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.time_logs.home_hash IS 'number made of the project id; rows lie sorted by it'""",
    """COMMENT ON COLUMN source.time_logs.duration_cell IS 'the cell the seconds came in: seconds, minutes, hours or duration'""",
    """COMMENT ON COLUMN source.time_logs.entered_at IS 'UTC'""",
)

MACROS = (
    """create macro source.is_among(homes, home) as get_bit(homes, home & 131071) = 1""",
    """create macro source.is_in_scope(home) as case when getvariable('few_contract_homes')::integer[] is null then source.is_among(getvariable('contract_homes')::bit, home) else home in (getvariable('contract_home_1')::integer, getvariable('contract_home_2')::integer, getvariable('contract_home_3')::integer, getvariable('contract_home_4')::integer, getvariable('contract_home_5')::integer, getvariable('contract_home_6')::integer, getvariable('contract_home_7')::integer, getvariable('contract_home_8')::integer, getvariable('contract_home_9')::integer, getvariable('contract_home_10')::integer, getvariable('contract_home_11')::integer, getvariable('contract_home_12')::integer, getvariable('contract_home_13')::integer, getvariable('contract_home_14')::integer, getvariable('contract_home_15')::integer, getvariable('contract_home_16')::integer) and list_contains(getvariable('few_contract_homes')::integer[], home) end""",
    """create macro source.is_from_first_day(day, all_are_read) as case when all_are_read then true else day >= getvariable('first_day')::date or day is null end""",
    """create macro source.is_of_few_contracts() as coalesce(not list_contains(getvariable('few_contract_homes')::integer[], 0), false)""",
    """create macro source.ten_thousandths(amount) as trunc(amount)::bigint * 10000 + ((amount - trunc(amount)::decimal(18, 4)) * 10000)::bigint""",
    """create macro source.is_number(cell) as regexp_full_match(cell, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)')""",
    """create macro source.in_four_decimals(cell) as case when try_cast(cell as decimal(18, 4)) = 0 and cell like '-%' and regexp_matches(cell, '[1-9]') then -0.0001 else try_cast(cell as decimal(18, 4)) end::decimal(18, 4)""",
    """create macro source.scope_part(cell) as coalesce(replace(replace(cell, chr(92), repeat(chr(92), 2)), '|', chr(92) || '|'), '')""",
    """create macro report.time_log_of(about) as case when about like 'log:%' then substr(about, 5) end""",
    """create macro report.age_bucket(age_days) as case when age_days is null then null when age_days <= 0 then 'current' when age_days <= 30 then '1-30' when age_days <= 60 then '31-60' when age_days <= 90 then '61-90' else '91+' end""",
)

VIEWS = {
    "work.scope_contract": """\
-- One row per contract a run looks at (contract_id; empty for rows that name none), with its home_hash.
-- from_day: the run looks at time logs from that day on, the first of a week (see balance), and what was before is as
-- it was; -infinity where it looks at all of them. The cycle writes it.
select
    null::varchar as contract_id,
    null::integer as home_hash,
    null::date as from_day
where false
""",
    "work.cycle": """\
-- The one row that says for which date a run computes, and which run it is, where it is one that is recorded; the cycle
-- writes it, so that no view asks the clock.
select
    null::date as as_of,
    null::bigint as run_id
where false
""",
    "work.currency": """\
-- One row per currency of ISO 4217 (currency) with its minor unit: decimals, how many minor units make one
-- (minor_factor), one minor unit as an amount (minor_unit), and how many ten-thousandths that is (minor_step).
-- Codes without a minor unit (gold, testing) are left out: nobody bills in them. Codes withdrawn since 2023 (ANG, BGN,
-- HRK, SLL, ZWL) stay in, because contracts and invoices of those years name them.
with

codes as (

    select
        unnest(
            [
                'BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV',
                'XAF', 'XOF', 'XPF'
            ]
        ) as currency,
        0 as decimals
    union all by name
    select
        unnest(
            [
                'AED', 'AFN', 'ALL', 'AMD', 'ANG', 'AOA', 'ARS', 'AUD', 'AWG', 'AZN', 'BAM', 'BBD', 'BDT', 'BGN',
                'BMD', 'BND', 'BOB', 'BOV', 'BRL', 'BSD', 'BTN', 'BWP', 'BYN', 'BZD', 'CAD', 'CDF', 'CHE', 'CHF',
                'CHW', 'CNY', 'COP', 'COU', 'CRC', 'CUP', 'CVE', 'CZK', 'DKK', 'DOP', 'DZD', 'EGP', 'ERN', 'ETB',
                'EUR', 'FJD', 'FKP', 'GBP', 'GEL', 'GHS', 'GIP', 'GMD', 'GTQ', 'GYD', 'HKD', 'HNL', 'HRK', 'HTG',
                'HUF', 'IDR', 'ILS', 'INR', 'IRR', 'JMD', 'KES', 'KGS', 'KHR', 'KPW', 'KYD', 'KZT', 'LAK', 'LBP',
                'LKR', 'LRD', 'LSL', 'MAD', 'MDL', 'MGA', 'MKD', 'MMK', 'MNT', 'MOP', 'MRU', 'MUR', 'MVR', 'MWK',
                'MXN', 'MXV', 'MYR', 'MZN', 'NAD', 'NGN', 'NIO', 'NOK', 'NPR', 'NZD', 'PAB', 'PEN', 'PGK', 'PHP',
                'PKR', 'PLN', 'QAR', 'RON', 'RSD', 'RUB', 'SAR', 'SBD', 'SCR', 'SDG', 'SEK', 'SGD', 'SHP', 'SLE',
                'SLL', 'SOS', 'SRD', 'SSP', 'STN', 'SVC', 'SYP', 'SZL', 'THB', 'TJS', 'TMT', 'TOP', 'TRY', 'TTD', 'TWD',
                'TZS', 'UAH', 'USD', 'USN', 'UYU', 'UZS', 'VED', 'VES', 'WST', 'XAD', 'XCD', 'XCG', 'YER', 'ZAR',
                'ZMW', 'ZWG', 'ZWL'
            ]
        ) as currency,
        2 as decimals
    union all by name
    select
        unnest(
            [
                'BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'
            ]
        ) as currency,
        3 as decimals
    union all by name
    select
        unnest(
            [
                'CLF', 'UYW'
            ]
        ) as currency,
        4 as decimals

)

select
    currency,
    decimals,
    (10 ^ decimals)::integer as minor_factor,
    (10 ^ (4 - decimals))::integer as minor_step,
    case decimals when 0 then 1 when 2 then 0.01 when 3 then 0.001 else 0.0001 end::decimal(5, 4) as minor_unit
from codes
""",
    "reconcile.last_run": """\
-- The newest run that was not halted: one row, or none before the first run.
select
    max(run_id) as run_id,
    arg_max(as_of, run_id) as as_of
from audit.run
where status = 'ok'
having max(run_id) is not null
""",
    "reconcile.superseded_row": """\
-- One row per source row that a newer version of the same key replaced (dataset, row_id).
select
    'contracts' as dataset,
    row_id
from source.contracts
where ended_by = 'superseded'
union all by name
select
    'projects' as dataset,
    row_id
from source.projects
where ended_by = 'superseded'
union all by name
select
    'rates' as dataset,
    row_id
from source.rates
where ended_by = 'superseded'
union all by name
select
    'time_logs' as dataset,
    row_id
from source.time_logs
where ended_by = 'superseded'
union all by name
select
    'invoices' as dataset,
    row_id
from source.invoices
where ended_by = 'superseded'
union all by name
select
    'invoice_lines' as dataset,
    row_id
from source.invoice_lines
where ended_by = 'superseded'
""",
    "report.contract_position_history": """\
-- One row per contract and version of its position (contract_id, valid_from_run_id). A version holds from the run that
-- wrote it to the run before valid_to_run_id; valid_to_run_id is NULL for the current one.
with

versions as (

    select
        position.*,
        lead(position.run_id) over (partition by position.contract_id order by position.run_id) as valid_to_run_id
    from audit.position

)

select
    versions.contract_id,
    versions.client,
    versions.currency,
    versions.billing_model,
    versions.expected_amount,
    versions.billed_amount,
    versions.leakage_amount,
    versions.written_off_amount,
    versions.overbilled_amount,
    versions.exposure_amount,
    versions.pending_amount,
    versions.noise_amount,
    versions.other_billed_amount,
    versions.unbilled_hours,
    versions.quarantined_hours,
    versions.quarantined_line_count,
    versions.threshold_amount,
    versions.is_flagged,
    versions.severity,
    versions.oldest_leakage_on,
    run.as_of,
    versions.run_id,
    versions.run_id as valid_from_run_id,
    versions.valid_to_run_id,
    run.finished_at as valid_from_at,
    next_run.finished_at as valid_to_at
from versions
inner join audit.run on versions.run_id = run.run_id
left join audit.run as next_run on versions.valid_to_run_id = next_run.run_id
where versions.state = 'open'
""",
    "report.finding": """\
-- One row per open finding (finding_id). The amount is on the side the row names; sides never offset one another.
-- seconds are those the amount is for: unbilled or missing ones, billed ones for a wrong rate.
select
    finding_open.finding_id,
    finding_open.contract_id,
    finding_open.client,
    finding_open.currency,
    finding_open.side,
    finding_open.class,
    finding_open.about,
    report.time_log_of(finding_open.about) as time_log_id,
    finding_open.project_id,
    finding_open.person,
    finding_open.role,
    finding_open.task,
    finding_open.worked_on,
    finding_open.seconds,
    finding_open.hourly_rate,
    finding_open.expected_amount,
    finding_open.billed_amount,
    finding_open.amount,
    finding_open.invoice_ids,
    finding_open.opened_run_id,
    run.finished_at as opened_at
from audit.finding_open
left join audit.run on finding_open.opened_run_id = run.run_id
""",
    "report.finding_history": """\
-- One row per finding and version (finding_id, version). A closed version has amount 0; valid_to_run_id is NULL for the
-- newest version, which is current if its state is open.
with

versions as (

    select
        finding.*,
        row_number() over (partition by finding.finding_id order by finding.run_id) as version,
        lead(finding.run_id) over (partition by finding.finding_id order by finding.run_id) as valid_to_run_id
    from audit.finding

)

select
    versions.finding_id,
    versions.contract_id,
    versions.client,
    versions.currency,
    versions.side,
    versions.class,
    versions.about,
    report.time_log_of(versions.about) as time_log_id,
    versions.project_id,
    versions.person,
    versions.role,
    versions.task,
    versions.worked_on,
    versions.seconds,
    versions.hourly_rate,
    versions.expected_amount,
    versions.billed_amount,
    versions.amount,
    versions.invoice_ids,
    versions.opened_run_id,
    opened_run.finished_at as opened_at,
    versions.version,
    versions.state,
    versions.run_id as valid_from_run_id,
    versions.valid_to_run_id,
    run.finished_at as valid_from_at,
    next_run.finished_at as valid_to_at
from versions
inner join audit.run on versions.run_id = run.run_id
left join audit.run as opened_run on versions.opened_run_id = opened_run.run_id
left join audit.run as next_run on versions.valid_to_run_id = next_run.run_id
""",
    "report.leakage_by_client": """\
-- One row per client and currency (client, currency): how many contracts, how many of them flagged, and their leakage.
select
    client,
    currency,
    count(*) as contract_count,
    count(*) filter (where is_flagged) as flagged_count,
    sum(leakage_amount)::decimal(18, 4) as leakage_amount
from audit.position_open
group by client, currency
""",
    "report.leakage_by_project": """\
-- One row per project, contract and currency with open leakage (project_id, contract_id, currency).
-- The hours a log is short of count while any leakage of it is open, also where a person has accepted their amount; not
-- where they are worth nothing, of which there is no finding (contract_position counts these too).
with

logs as (

    select
        project_id,
        contract_id,
        client,
        currency,
        sum(amount) filter (where side = 'leakage') as leakage_amount,
        coalesce(sum(seconds) filter (where class != 'rate_under'), 0) as unbilled_seconds
    from audit.finding_open
    where side in ('leakage', 'written_off')
    group by about, project_id, contract_id, client, currency
    having bool_or(side = 'leakage')

)

select
    project_id,
    contract_id,
    any_value(client) as client,
    currency,
    ((sum(unbilled_seconds) * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as unbilled_hours,
    sum(leakage_amount)::decimal(18, 4) as leakage_amount
from logs
group by project_id, contract_id, currency
""",
    "report.leakage_trend": """\
-- One row per currency and run that changed its leakage (currency, run_id): the total leakage after that run.
with

versions as (

    select
        run_id,
        contract_id,
        currency,
        case state when 'open' then leakage_amount else 0 end as leakage_amount,
        lag(currency) over in_order as currency_before,
        lag(case state when 'open' then leakage_amount else 0 end) over in_order as leakage_amount_before
    from audit.position
    window in_order as (partition by contract_id order by run_id)

),

-- A contract whose currency was corrected leaves one currency's total and enters another's.
steps as (

    select
        run_id,
        currency,
        leakage_amount as step_amount
    from versions
    union all by name
    select
        run_id,
        currency_before as currency,
        -leakage_amount_before as step_amount
    from versions
    where leakage_amount_before is not null

),

by_run as (

    select
        currency,
        run_id,
        sum(step_amount) as step_amount
    from steps
    group by currency, run_id
    having sum(step_amount) != 0

)

select
    by_run.currency,
    by_run.run_id,
    run.finished_at,
    (sum(by_run.step_amount) over (
        partition by by_run.currency
        order by by_run.run_id
    ))::decimal(18, 4) as leakage_amount
from by_run
inner join audit.run on by_run.run_id = run.run_id
""",
    "report.quarantine": """\
-- One row per row set aside now (quarantine_id), with every reason it has and its cells: as
-- given where one could not be read, else as they were read.
-- state is open, or waived where a person accepted that the row stays out.
select
    quarantine_open.quarantine_id,
    quarantine_open.entity,
    quarantine_open.key,
    quarantine_open.contract_id,
    quarantine_open.client,
    quarantine_open.reasons,
    quarantine_open.detail,
    quarantine_open.source,
    quarantine_open.raw,
    quarantine_open.seconds,
    quarantine_open.state,
    quarantine_open.opened_run_id,
    run.finished_at as opened_at
from audit.quarantine_open
left join audit.run on quarantine_open.opened_run_id = run.run_id
""",
    "report.quarantine_history": """\
-- One row per row set aside and version (quarantine_id, valid_from_run_id). The state of the newest version says what
-- became of it: open, waived, resolved (it became valid or disappeared) or superseded (a new version came).
with

versions as (

    select
        quarantine.*,
        lead(quarantine.run_id) over (
            partition by quarantine.quarantine_id
            order by quarantine.run_id
        ) as valid_to_run_id
    from audit.quarantine

)

select
    versions.quarantine_id,
    versions.entity,
    versions.key,
    versions.contract_id,
    versions.client,
    versions.reasons,
    versions.detail,
    versions.source,
    versions.raw,
    versions.seconds,
    versions.state,
    versions.opened_run_id,
    opened_run.finished_at as opened_at,
    versions.waived_by,
    versions.waived_reason,
    versions.run_id as valid_from_run_id,
    versions.valid_to_run_id,
    run.finished_at as valid_from_at,
    next_run.finished_at as valid_to_at
from versions
inner join audit.run on versions.run_id = run.run_id
left join audit.run as opened_run on versions.opened_run_id = opened_run.run_id
left join audit.run as next_run on versions.valid_to_run_id = next_run.run_id
""",
    "report.quarantine_reason": """\
-- One row per row set aside now and reason (quarantine_id, reason).
select
    quarantine_id,
    entity,
    key,
    unnest(string_split(reasons, ',')) as reason
from audit.quarantine_open
""",
    "report.run_history": """\
-- One row per run (run_id), also those that halted; log counts are totals of the whole database after the run.
select
    run_id,
    as_of,
    started_at,
    finished_at,
    status,
    error,
    duration_ms,
    logs_received,
    logs_eligible,
    logs_quarantined,
    logs_excluded,
    logs_out_of_term,
    findings_opened,
    findings_changed,
    findings_closed,
    rules_digest,
    settings
from audit.run
""",
    "work.scope_invoice": """\
-- One row per invoice a run looks at (invoice_id; empty for rows that name none), with its home_hash.
-- from_day: the run looks at time logs from that day on, the first of a week (see balance), and what was before is as
-- it was; -infinity where it looks at all of them. The cycle writes it.
select
    null::varchar as invoice_id,
    null::integer as home_hash,
    null::date as from_day
where false
""",
    "work.scope_project": """\
-- One row per project a run looks at (project_id; empty for rows that name none), with its home_hash.
-- from_day: the run looks at time logs from that day on, the first of a week (see balance), and what was before is as
-- it was; -infinity where it looks at all of them. The cycle writes it.
select
    null::varchar as project_id,
    null::integer as home_hash,
    null::date as from_day
where false
""",
    "work.threshold": """\
-- One row per currency with a threshold of its own in the settings (currency), and one without a currency for all
-- others. The cycle writes it.
select
    null::varchar as currency,
    null::decimal(18, 4) as threshold_amount
where false
""",
    "staging.contracts": """\
-- One row per live version of a contract in scope (row_id), cells read, defaults not yet applied.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    contract_id,
    client,
    currency,
    billing_model,
    starts_on,
    ends_on,
    rounding_minutes,
    rounding_mode,
    rounding_unit,
    minimum_minutes,
    overtime_after_minutes,
    overtime_multiplier,
    weekend_multiplier,
    prepaid_minutes,
    prepaid_period,
    cap_minutes,
    cap_amount,
    cap_period,
    discount_percent,
    grace_days,
    grace_from,
    threshold_amount,
    raw
from source.contracts
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)
""",
    "staging.projects": """\
-- One row per live version of a project under a contract in scope (row_id), cells read.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    project_id,
    contract_id,
    name,
    is_billable
from source.projects
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)
""",
    "staging.rates": """\
-- One row per live version of a rate of a contract in scope (row_id), cells read.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    contract_id,
    project_id,
    person,
    role,
    task,
    hourly_rate,
    valid_from,
    valid_to
from source.rates
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)
""",
    "work.opening": """\
-- One row per contract in scope (contract_id): the balances its weeks before from_day leave, as the newest run stored
-- them; zero where a run looks at all of the contract's time logs. Sums named month_... are those of the weeks that lie
-- in the month of from_day (worked_month).
with

before as (

    select
        scope_contract.home_hash,
        scope_contract.contract_id,
        balance_open.* exclude (home_hash, contract_id),
        datediff('month', date '1970-01-01', scope_contract.from_day) as worked_month,
        datediff('month', date '1970-01-01', balance_open.week) = worked_month as is_of_month
    from temp.scope_contract
    left join (
        select *
        from audit.balance_open
        where source.is_in_scope(home_hash)
    ) as balance_open
        on scope_contract.contract_id = balance_open.contract_id and scope_contract.from_day > balance_open.week

)

select
    home_hash,
    contract_id,
    worked_month,
    coalesce(sum(rounded_seconds) filter (where is_of_month), 0)::bigint as month_rounded_seconds,
    coalesce(sum(unpaid_seconds) filter (where is_of_month), 0)::bigint as month_unpaid_seconds,
    coalesce(sum(amount_minor) filter (where is_of_month), 0)::hugeint as month_amount_minor,
    coalesce(sum(fixed_seconds) filter (where is_of_month), 0)::bigint as month_fixed_seconds,
    coalesce(sum(rounded_seconds), 0)::bigint as rounded_seconds,
    coalesce(sum(unpaid_seconds), 0)::bigint as unpaid_seconds,
    coalesce(sum(amount_minor), 0)::hugeint as amount_minor,
    coalesce(sum(fixed_seconds), 0)::bigint as fixed_seconds,
    coalesce(sum(expected_minor), 0)::hugeint as expected_minor,
    coalesce(sum(billed_minor), 0)::hugeint as billed_minor,
    coalesce(sum(unbilled_seconds), 0)::bigint as unbilled_seconds,
    coalesce(sum(quarantined_seconds), 0)::bigint as quarantined_seconds
from before
group by home_hash, contract_id, worked_month
""",
    "reconcile.due": """\
-- One row per contract or project whose result the calendar alone can have changed since the last run (kind, id), and
-- the day from which on. A log that was not due is, or one that was dated in the future no longer is: invoices may
-- have waited for that, so anything may change (NULL).
select
    'contract' as kind,
    contract_id as id,
    min(worked_on) as from_day
from audit.finding_open
where class = 'not_due' and due_on <= (select as_of from temp.cycle)
group by contract_id
union all by name
select distinct
    'project' as kind,
    home as id,
    null::date as from_day
from audit.quarantine_open
where
    entity = 'time_logs'
    and contains(reasons, 'future_dated')
    and worked_on <= (select as_of from temp.cycle)
""",
    "report.contract_position": """\
-- One row per contract (contract_id): what is owed, what was billed, and every difference on its own side.
-- Amounts are in the contract's currency; leakage, overbilled, exposure and pending never offset one another.
select
    position_open.contract_id,
    position_open.client,
    position_open.currency,
    position_open.billing_model,
    position_open.expected_amount,
    position_open.billed_amount,
    position_open.leakage_amount,
    position_open.written_off_amount,
    position_open.overbilled_amount,
    position_open.exposure_amount,
    position_open.pending_amount,
    position_open.noise_amount,
    position_open.other_billed_amount,
    position_open.unbilled_hours,
    position_open.quarantined_hours,
    position_open.quarantined_line_count,
    position_open.threshold_amount,
    position_open.is_flagged,
    position_open.severity,
    position_open.oldest_leakage_on,
    last_run.as_of - position_open.oldest_leakage_on as age_days,
    report.age_bucket(last_run.as_of - position_open.oldest_leakage_on) as age_bucket,
    last_run.as_of,
    last_run.run_id
from audit.position_open
cross join reconcile.last_run
""",
    "report.leakage_aging": """\
-- One row per currency and age bucket (currency, age_bucket): open leakage by the age of the work behind it.
select
    finding_open.currency,
    report.age_bucket(last_run.as_of - finding_open.worked_on) as age_bucket,
    count(*) as finding_count,
    sum(finding_open.amount)::decimal(18, 4) as amount
from audit.finding_open
cross join reconcile.last_run
where finding_open.side = 'leakage'
group by finding_open.currency, age_bucket
""",
    "staging.invoice_lines": """\
-- One row per live version of a line of an invoice in scope (row_id), cells read.
-- The bits the cycle sets let DuckDB pass over the rows of all others before it reads their cells; the id decides.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    invoice_id,
    line_no,
    coalesce(kind, 'time') as kind,
    time_log_id,
    project_id,
    person,
    role,
    task,
    period_start,
    period_end,
    seconds,
    net_amount
from source.invoice_lines
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(invoice_id, '') in (select invoice_id from temp.scope_invoice)
""",
    "staging.invoices": """\
-- One row per live version of an invoice in scope (row_id), cells read.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    invoice_id,
    contract_id,
    currency,
    issued_on,
    status
from source.invoices
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(invoice_id, '') in (select invoice_id from temp.scope_invoice)
""",
    "staging.time_logs": """\
-- One row per live version of a time log on a project in scope, from its from_day on or without a date (row_id), cells
-- read.
-- The bits and the first day that the cycle sets let DuckDB pass over other rows before it reads their cells; id and
-- from_day decide.
select
    time_logs.row_id,
    time_logs.source,
    time_logs.odd_cells,
    time_logs.digest,
    time_logs.contract_hash,
    time_logs.home_hash,
    time_logs.time_log_id,
    time_logs.project_id,
    time_logs.person,
    time_logs.role,
    time_logs.task,
    time_logs.worked_on,
    time_logs.seconds,
    time_logs.is_billable,
    time_logs.is_approved,
    time_logs.entered_at::date as entered_on
from source.time_logs
inner join temp.scope_project on coalesce(time_logs.project_id, '') = scope_project.project_id
where
    time_logs.ended_load_id is null
    and source.is_in_scope(time_logs.contract_hash)
    and source.is_from_first_day(time_logs.worked_on, getvariable('reads_all_days'))
    and coalesce(time_logs.worked_on >= scope_project.from_day, true)
""",
    "work.open_quarantine": """\
-- One row per row in scope that is set aside already (quarantine_id), as the newest run stored it. Without the
-- cells as given, which are long.
with

scope as (

    select
        'contracts' as kind,
        contract_id as id,
        null::date as from_day
    from temp.scope_contract
    union all
    select
        'invoices' as kind,
        invoice_id as id,
        null::date as from_day
    from temp.scope_invoice
    union all
    select
        'time_logs' as kind,
        project_id as id,
        from_day
    from temp.scope_project

)

select
    quarantine_open.quarantine_id,
    quarantine_open.row_id,
    quarantine_open.contract_hash,
    quarantine_open.home,
    quarantine_open.entity,
    quarantine_open.key,
    quarantine_open.contract_id,
    quarantine_open.client,
    quarantine_open.reasons,
    quarantine_open.detail,
    quarantine_open.source,
    quarantine_open.seconds,
    quarantine_open.worked_on,
    quarantine_open.state,
    quarantine_open.waived_by,
    quarantine_open.waived_reason,
    quarantine_open.opened_run_id
from audit.quarantine_open
inner join scope
    on
        quarantine_open.home = scope.id
        and case
            when quarantine_open.entity in ('projects', 'rates') then 'contracts'
            when quarantine_open.entity = 'invoice_lines' then 'invoices'
            else quarantine_open.entity
        end = scope.kind
        and coalesce(quarantine_open.worked_on >= scope.from_day, true)
where
    source.is_in_scope(quarantine_open.contract_hash)
    -- Most rows that belong to no contract are older time logs.
    and source.is_from_first_day(quarantine_open.worked_on, source.is_of_few_contracts())
""",
    "work.contract_row": """\
-- One row per live version of a contract in scope (row_id): staging.contracts, read once per run.
-- An amount with more decimals than its currency has cannot be read: it moves to odd_cells. Where the currency is
-- unknown there is no limit: of more than four decimals the column holds four, and never loses its sign.
with

judged as (

    select
        contracts.*,
        currency.currency is null as is_unlimited,
        coalesce(source.ten_thousandths(contracts.cap_amount) % currency.minor_step != 0, false) as is_cap_odd,
        coalesce(source.ten_thousandths(contracts.threshold_amount) % currency.minor_step != 0, false)
            as is_threshold_odd,
        json_extract_string(contracts.odd_cells, 'cap_amount') as odd_cap,
        json_extract_string(contracts.odd_cells, 'threshold_amount') as odd_threshold
    from staging.contracts
    left join temp.currency using (currency)

)

select
    * exclude (is_unlimited, is_cap_odd, is_threshold_odd, odd_cap, odd_threshold)
    replace (
        case
            when is_cap_odd then null
            when is_unlimited and source.is_number(odd_cap) then source.in_four_decimals(odd_cap)
            else cap_amount
        end as cap_amount,
        case
            when is_threshold_odd then null
            when is_unlimited and source.is_number(odd_threshold) then source.in_four_decimals(odd_threshold)
            else threshold_amount
        end as threshold_amount,
        case
            when is_cap_odd or is_threshold_odd
                then
                    json_merge_patch(
                        coalesce(odd_cells, '{}'),
                        case
                            when is_cap_odd
                                then json_object('cap_amount', trim(json_extract_string(raw, 'cap_amount')))
                            else '{}'
                        end,
                        case
                            when is_threshold_odd
                                then json_object('threshold_amount', trim(json_extract_string(raw, 'threshold_amount')))
                            else '{}'
                        end
                    )::varchar
            else odd_cells
        end as odd_cells
    )
from judged
""",
    "work.project_row": """\
-- One row per live version of a project in scope (row_id): staging.projects, read once per run.
from staging.projects
""",
    "work.rate_row": """\
-- One row per live version of a rate in scope (row_id): staging.rates, read once per run.
from staging.rates
""",
    "work.early_line": """\
-- One row per live line of an invoice in scope that may make a run of later weeks look further back (row_id): pooled
-- ones, and those that name a time log that has changed.
select
    row_id,
    invoice_id,
    kind,
    time_log_id,
    period_start,
    period_end
from staging.invoice_lines
where
    invoice_id in (select invoice_id from temp.scope_invoice where from_day > '-infinity')
    and (time_log_id is null or time_log_id in (select time_log_id from source.change))
""",
    "work.invoice_row": """\
-- One row per live version of an invoice in scope (row_id): staging.invoices, read once per run.
from staging.invoices
""",
    "work.log_row": """\
-- One row per live version of a time log in scope (row_id): staging.time_logs, read once per run.
from staging.time_logs
""",
    "quarantine_rules.discount_over_100": """\
-- A contract's discount is more than everything.
select
    'contracts' as dataset,
    row_id,
    discount_percent::varchar as detail
from temp.contract_row
where discount_percent > 100
""",
    "quarantine_rules.ends_before_start": """\
-- A contract ends before it starts.
select
    'contracts' as dataset,
    row_id,
    starts_on || ' to ' || ends_on as detail
from temp.contract_row
where ends_on < starts_on
""",
    "work.contract_version": """\
-- One row per live version of a contract in scope that has an id (precedence), with the days it is in force.
-- A blank or unreadable start is since ever, a blank or unreadable end is open.
select
    contract_id,
    coalesce(starts_on, date '0001-01-01') as starts_on,
    coalesce(ends_on, date '9999-12-31') as ends_on,
    -- The latest start wins, then the greatest id.
    row_number() over (order by starts_on nulls first, contract_id) as precedence
from temp.contract_row
where contract_id is not null
""",
    "quarantine_rules.empty_rate_window": """\
-- A rate ends before or on the day it starts.
select
    'rates' as dataset,
    row_id,
    valid_from || ' to ' || valid_to as detail
from temp.rate_row
where valid_to <= valid_from
""",
    "quarantine_rules.negative_term": """\
-- A contract has a negative amount, minutes, days or percent, or a multiplier not above 0; or a rate is negative.
select
    'contracts' as dataset,
    row_id,
    concat_ws(
        ', ',
        case when rounding_minutes < 0 then 'rounding_minutes' end,
        case when minimum_minutes < 0 then 'minimum_minutes' end,
        case when overtime_after_minutes < 0 then 'overtime_after_minutes' end,
        case when overtime_multiplier <= 0 then 'overtime_multiplier' end,
        case when weekend_multiplier <= 0 then 'weekend_multiplier' end,
        case when prepaid_minutes < 0 then 'prepaid_minutes' end,
        case when cap_minutes < 0 then 'cap_minutes' end,
        case when cap_amount < 0 then 'cap_amount' end,
        case when discount_percent < 0 then 'discount_percent' end,
        case when grace_days < 0 then 'grace_days' end,
        case when threshold_amount < 0 then 'threshold_amount' end
    ) as detail
from temp.contract_row
where
    rounding_minutes < 0
    or minimum_minutes < 0
    or overtime_after_minutes < 0
    or overtime_multiplier <= 0
    or weekend_multiplier <= 0
    or prepaid_minutes < 0
    or cap_minutes < 0
    or cap_amount < 0
    or discount_percent < 0
    or grace_days < 0
    or threshold_amount < 0
union all by name
select
    'rates' as dataset,
    row_id,
    'hourly_rate' as detail
from temp.rate_row
where hourly_rate < 0
""",
    "matching.line_currency": """\
-- One row per invoice in scope whose versions agree on a currency (invoice_id): the currency its lines are read in.
-- A version without one agrees with none that has one.
select
    invoice_id,
    min(currency) as currency
from temp.invoice_row
where invoice_id is not null
group by invoice_id
having min(coalesce(currency, '')) = max(currency)
""",
    "quarantine_rules.unknown_contract": """\
-- A project, a rate or an invoice names a contract that was never received. The contracts they name are in scope too.
with

contracts as (

    select contract_id
    from temp.contract_row
    where contract_id is not null

)

select
    'projects' as dataset,
    row_id,
    contract_id as detail
from temp.project_row
where contract_id is not null and contract_id not in (from contracts)
union all by name
select
    'rates' as dataset,
    row_id,
    contract_id as detail
from temp.rate_row
where contract_id is not null and contract_id not in (from contracts)
union all by name
select
    'invoices' as dataset,
    row_id,
    contract_id as detail
from temp.invoice_row
where contract_id is not null and contract_id not in (from contracts)
""",
    "quarantine_rules.unknown_currency": """\
-- A contract's or an invoice's currency is no code of ISO 4217.
select
    'contracts' as dataset,
    row_id,
    currency as detail
from temp.contract_row
where currency is not null and currency not in (select currency from temp.currency)
union all by name
select
    'invoices' as dataset,
    row_id,
    currency as detail
from temp.invoice_row
where currency is not null and currency not in (select currency from temp.currency)
""",
    "quarantine_rules.future_dated": """\
-- A time log is dated after the day the run is for.
select
    'time_logs' as dataset,
    row_id,
    worked_on::varchar as detail
from temp.log_row
where
    worked_on > (select as_of from temp.cycle)
""",
    "quarantine_rules.missing_date": """\
-- A time log has no date; one that cannot be read is unparseable, not missing.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    worked_on is null
    and (odd_cells is null or json_extract_string(odd_cells, 'worked_on') is null)
""",
    "quarantine_rules.missing_duration": """\
-- A time log has no duration; one that cannot be read is unparseable, not missing.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    seconds is null
    and (
        odd_cells is null
        or coalesce(
            json_extract_string(odd_cells, 'seconds'),
            json_extract_string(odd_cells, 'minutes'),
            json_extract_string(odd_cells, 'hours'),
            json_extract_string(odd_cells, 'duration')
        ) is null
    )
""",
    "quarantine_rules.missing_person": """\
-- A time log names no person.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    person is null
""",
    "quarantine_rules.missing_project": """\
-- A time log names no project.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    project_id is null
""",
    "quarantine_rules.non_positive_duration": """\
-- A time log lasts nothing, or less.
select
    'time_logs' as dataset,
    row_id,
    seconds || ' s' as detail
from temp.log_row
where
    seconds <= 0
""",
    "quarantine_rules.over_24_hours": """\
-- One time log lasts longer than a day.
select
    'time_logs' as dataset,
    row_id,
    concat(
        seconds // 3600, ':', lpad((seconds // 60 % 60)::varchar, 2, '0'), ':', lpad((seconds % 60)::varchar, 2, '0')
    ) as detail
from temp.log_row
where
    seconds > 86400
""",
    "work.line_row": """\
-- One row per live version of an invoice line in scope (row_id): staging.invoice_lines, read once per run.
-- Where a run looks at later weeks only, direct lines that bill other time logs are left out. Lines that are set aside,
-- or stand on an invoice that bills no time logs, count towards their contract all the same.
with

billing_invoice as (

    select invoice_row.invoice_id
    from temp.invoice_row
    inner join temp.contract_row using (contract_id)
    where invoice_row.invoice_id is not null
    group by invoice_row.invoice_id
    having
        bool_and(
            coalesce(invoice_row.status in ('issued', 'paid'), false)
            and coalesce(invoice_row.currency = contract_row.currency, false)
            and contract_row.billing_model is distinct from 'fixed_price'
        )

)

from staging.invoice_lines
where
    coalesce(invoice_id, '') in (select invoice_id from temp.scope_invoice where from_day = '-infinity')
    or kind != 'time'
    or time_log_id is null
    or time_log_id in (select time_log_id from temp.log_row where time_log_id is not null)
    or row_id in (select row_id from temp.open_quarantine where entity = 'invoice_lines')
    or coalesce(invoice_id, '') not in (select invoice_id from billing_invoice)
""",
    "quarantine_rules.conflicting_duplicate": """\
-- Another live row has the same key and says something else, or comes from another source.
select 'contracts' as dataset, row_id, null::varchar as detail
from temp.contract_row
where row_id in (select row_id from source.conflict where dataset = 'contracts')
union all by name
select 'projects' as dataset, row_id, null::varchar as detail
from temp.project_row
where row_id in (select row_id from source.conflict where dataset = 'projects')
union all by name
select 'time_logs' as dataset, row_id, null::varchar as detail
from temp.log_row
where row_id in (select row_id from source.conflict where dataset = 'time_logs')
union all by name
select 'invoices' as dataset, row_id, null::varchar as detail
from temp.invoice_row
where row_id in (select row_id from source.conflict where dataset = 'invoices')
union all by name
select 'invoice_lines' as dataset, row_id, null::varchar as detail
from temp.line_row
where row_id in (select row_id from source.conflict where dataset = 'invoice_lines')
""",
    "quarantine_rules.missing_value": """\
-- A required cell is blank.
with

cells as (

    select 'contracts' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.contract_row
    where contract_id is null
    union all by name
    select 'contracts' as dataset, row_id, odd_cells, 'client' as cell
    from temp.contract_row
    where client is null
    union all by name
    select 'contracts' as dataset, row_id, odd_cells, 'currency' as cell
    from temp.contract_row
    where currency is null
    union all by name
    select 'contracts' as dataset, row_id, odd_cells, 'starts_on' as cell
    from temp.contract_row
    where starts_on is null
    union all by name
    select 'projects' as dataset, row_id, odd_cells, 'project_id' as cell
    from temp.project_row
    where project_id is null
    union all by name
    select 'projects' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.project_row
    where contract_id is null
    union all by name
    select 'rates' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.rate_row
    where contract_id is null
    union all by name
    select 'rates' as dataset, row_id, odd_cells, 'hourly_rate' as cell
    from temp.rate_row
    where hourly_rate is null
    union all by name
    select 'rates' as dataset, row_id, odd_cells, 'valid_from' as cell
    from temp.rate_row
    where valid_from is null
    union all by name
    select 'time_logs' as dataset, row_id, odd_cells, 'time_log_id' as cell
    from temp.log_row
    where time_log_id is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'invoice_id' as cell
    from temp.invoice_row
    where invoice_id is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.invoice_row
    where contract_id is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'currency' as cell
    from temp.invoice_row
    where currency is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'status' as cell
    from temp.invoice_row
    where status is null
    union all by name
    select 'invoice_lines' as dataset, row_id, odd_cells, 'invoice_id' as cell
    from temp.line_row
    where invoice_id is null
    union all by name
    select 'invoice_lines' as dataset, row_id, odd_cells, 'line_no' as cell
    from temp.line_row
    where line_no is null
    union all by name
    select 'invoice_lines' as dataset, row_id, odd_cells, 'net_amount' as cell
    from temp.line_row
    where net_amount is null

)

select
    dataset,
    row_id,
    array_to_string(list_sort(list(cell)), ', ') as detail
from cells
-- A cell that is there but cannot be read is unparseable, not missing.
where odd_cells is null or json_extract_string(odd_cells, cell) is null
group by dataset, row_id
""",
    "quarantine_rules.unknown_choice": """\
-- A cell that takes one of a few words holds another one.
select
    'contracts' as dataset,
    row_id,
    concat_ws(
        ', ',
        case when billing_model not in ('time_and_materials', 'fixed_price') then 'billing_model' end,
        case when rounding_mode not in ('up', 'nearest', 'down') then 'rounding_mode' end,
        case when rounding_unit not in ('entry', 'day') then 'rounding_unit' end,
        case when prepaid_period not in ('lifetime', 'month') then 'prepaid_period' end,
        case when cap_period not in ('lifetime', 'month') then 'cap_period' end,
        case when grace_from not in ('worked_on', 'month_end') then 'grace_from' end
    ) as detail
from temp.contract_row
where
    billing_model not in ('time_and_materials', 'fixed_price')
    or rounding_mode not in ('up', 'nearest', 'down')
    or rounding_unit not in ('entry', 'day')
    or prepaid_period not in ('lifetime', 'month')
    or cap_period not in ('lifetime', 'month')
    or grace_from not in ('worked_on', 'month_end')
union all by name
select
    'invoices' as dataset,
    row_id,
    'status' as detail
from temp.invoice_row
where status not in ('draft', 'issued', 'paid', 'void')
union all by name
select
    'invoice_lines' as dataset,
    row_id,
    'kind' as detail
from temp.line_row
where kind not in ('time', 'expense', 'fixed', 'prepaid', 'other')
""",
    "quarantine_rules.unparseable_value": """\
-- A cell is there but cannot be read; the detail names column and value.
-- An amount may have the decimals of its currency, and any number of them where the currency is unknown. Of a contract
-- work.contract_row has put those that have more among the odd cells.
with

odd_rows as (

    select 'contracts' as dataset, row_id, odd_cells, currency from temp.contract_row where odd_cells is not null
    union all by name
    select 'projects' as dataset, row_id, odd_cells from temp.project_row where odd_cells is not null
    union all by name
    select 'rates' as dataset, row_id, odd_cells from temp.rate_row where odd_cells is not null
    union all by name
    select 'time_logs' as dataset, row_id, odd_cells from temp.log_row where odd_cells is not null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells from temp.invoice_row where odd_cells is not null
    union all by name
    select 'invoice_lines' as dataset, line_row.row_id, line_row.odd_cells, line_currency.currency
    from temp.line_row
    left join matching.line_currency using (invoice_id)
    where line_row.odd_cells is not null

),

odd_cells as (

    select dataset, row_id, currency, unnest(json_keys(odd_cells)) as cell, odd_cells
    from odd_rows

),

too_fine as (

    select
        'invoice_lines' as dataset,
        line_row.row_id,
        'net_amount' as cell,
        rtrim(line_row.net_amount::varchar, '0') as value
    from temp.line_row
    inner join matching.line_currency using (invoice_id)
    inner join temp.currency on line_currency.currency = currency.currency
    where source.ten_thousandths(line_row.net_amount) % currency.minor_step != 0

),

cells as (

    select dataset, row_id, cell, json_extract_string(odd_cells, cell) as value
    from odd_cells
    where
        cell not in ('cap_amount', 'threshold_amount', 'net_amount')
        or currency in (select currency from temp.currency)
        or not source.is_number(json_extract_string(odd_cells, cell))
    union all by name
    select dataset, row_id, cell, value
    from too_fine

)

select
    dataset,
    row_id,
    array_to_string(list_sort(list(cell || ': ' || left(value, 200))), '; ') as detail
from cells
group by dataset, row_id
""",
    "quarantine_rules.all_rules": """\
-- Every row of every rule in this folder.
select 'conflicting_duplicate' as rule_name, * from quarantine_rules.conflicting_duplicate
union all by name
select 'discount_over_100' as rule_name, * from quarantine_rules.discount_over_100
union all by name
select 'empty_rate_window' as rule_name, * from quarantine_rules.empty_rate_window
union all by name
select 'ends_before_start' as rule_name, * from quarantine_rules.ends_before_start
union all by name
select 'future_dated' as rule_name, * from quarantine_rules.future_dated
union all by name
select 'missing_date' as rule_name, * from quarantine_rules.missing_date
union all by name
select 'missing_duration' as rule_name, * from quarantine_rules.missing_duration
union all by name
select 'missing_person' as rule_name, * from quarantine_rules.missing_person
union all by name
select 'missing_project' as rule_name, * from quarantine_rules.missing_project
union all by name
select 'missing_value' as rule_name, * from quarantine_rules.missing_value
union all by name
select 'negative_term' as rule_name, * from quarantine_rules.negative_term
union all by name
select 'non_positive_duration' as rule_name, * from quarantine_rules.non_positive_duration
union all by name
select 'over_24_hours' as rule_name, * from quarantine_rules.over_24_hours
union all by name
select 'unknown_choice' as rule_name, * from quarantine_rules.unknown_choice
union all by name
select 'unknown_contract' as rule_name, * from quarantine_rules.unknown_contract
union all by name
select 'unknown_currency' as rule_name, * from quarantine_rules.unknown_currency
union all by name
select 'unparseable_value' as rule_name, * from quarantine_rules.unparseable_value
""",
    "work.own_reason": """\
-- One row per row in scope and reason that the row's own cells and keys give (dataset, row_id, reason).
select
    rule_name as reason,
    dataset,
    row_id,
    detail
from quarantine_rules.all_rules
""",
    "reference_rules.bad_rate": """\
-- One of a contract's rates is in quarantine: better no price than a wrong one.
select distinct
    'contracts' as dataset,
    contract_row.row_id,
    null::varchar as detail
from temp.contract_row
inner join temp.rate_row using (contract_id)
inner join temp.own_reason on rate_row.row_id = own_reason.row_id and own_reason.dataset = 'rates'
""",
    "reference_rules.unknown_invoice": """\
-- An invoice line names an invoice that was never received, or is in quarantine.
select
    'invoice_lines' as dataset,
    row_id,
    invoice_id as detail
from temp.line_row
where
    invoice_id is not null
    and invoice_id not in (
        select invoice_row.invoice_id
        from temp.invoice_row
        anti join (select row_id from temp.own_reason where dataset = 'invoices') as set_aside using (row_id)
    )
""",
    "reference_rules.unknown_project": """\
-- A time log names a project that is not among the projects, or only in quarantine.
select
    'time_logs' as dataset,
    row_id,
    project_id as detail
from temp.log_row
where
    project_id is not null
    and project_id not in (
        select project_row.project_id
        from temp.project_row
        anti join (select row_id from temp.own_reason where dataset = 'projects') as set_aside using (row_id)
    )
""",
    "reference_rules.all_rules": """\
-- Every row of every rule in this folder.
select 'bad_rate' as rule_name, * from reference_rules.bad_rate
union all by name
select 'unknown_invoice' as rule_name, * from reference_rules.unknown_invoice
union all by name
select 'unknown_project' as rule_name, * from reference_rules.unknown_project
""",
    "work.row_reason": """\
-- One row per row in scope and reason (dataset, row_id, reason), its own ones and those of the rows it refers to.
from temp.own_reason
union all by name
select
    rule_name as reason,
    dataset,
    row_id,
    detail
from reference_rules.all_rules
""",
    "work.contract": """\
-- One row per contract in scope (contract_id): its terms with defaults, those of the version that starts last,
-- and whether it may be billed by (is_valid: no version of it has a reason to be in quarantine).
with

given as (

    select
        *,
        -- The cells as given decide between versions that start on the same day.
        concat_ws(
            '|',
            coalesce(json_extract_string(raw, 'contract_id'), ''),
            coalesce(json_extract_string(raw, 'client'), ''),
            coalesce(json_extract_string(raw, 'currency'), ''),
            coalesce(json_extract_string(raw, 'billing_model'), ''),
            coalesce(json_extract_string(raw, 'starts_on'), ''),
            coalesce(json_extract_string(raw, 'ends_on'), ''),
            coalesce(json_extract_string(raw, 'rounding_minutes'), ''),
            coalesce(json_extract_string(raw, 'rounding_mode'), ''),
            coalesce(json_extract_string(raw, 'rounding_unit'), ''),
            coalesce(json_extract_string(raw, 'minimum_minutes'), ''),
            coalesce(json_extract_string(raw, 'overtime_after_minutes'), ''),
            coalesce(json_extract_string(raw, 'overtime_multiplier'), ''),
            coalesce(json_extract_string(raw, 'weekend_multiplier'), ''),
            coalesce(json_extract_string(raw, 'prepaid_minutes'), ''),
            coalesce(json_extract_string(raw, 'prepaid_period'), ''),
            coalesce(json_extract_string(raw, 'cap_minutes'), ''),
            coalesce(json_extract_string(raw, 'cap_amount'), ''),
            coalesce(json_extract_string(raw, 'cap_period'), ''),
            coalesce(json_extract_string(raw, 'discount_percent'), ''),
            coalesce(json_extract_string(raw, 'grace_days'), ''),
            coalesce(json_extract_string(raw, 'grace_from'), ''),
            coalesce(json_extract_string(raw, 'threshold_amount'), '')
        ) as row_text
    from temp.contract_row
    where contract_id is not null

),

ranked as (

    select
        *,
        -- Without partitions, as in work.rate.
        coalesce(
            lag(contract_id) over (order by contract_id, starts_on desc nulls last, row_text desc) != contract_id, true
        ) as is_last
    from given

),

invalid as (

    select distinct contract_row.contract_id
    from temp.contract_row
    inner join temp.row_reason on contract_row.row_id = row_reason.row_id and row_reason.dataset = 'contracts'

)

select
    ranked.contract_id,
    ranked.client,
    ranked.currency,
    case ranked.billing_model when 'fixed_price' then 'fixed_price' else 'time_and_materials' end as billing_model,
    invalid.contract_id is null as is_valid,
    coalesce(ranked.rounding_minutes, 0) * 60 as rounding_seconds,
    coalesce(ranked.rounding_mode, 'up') as rounding_mode,
    coalesce(ranked.rounding_unit, 'entry') as rounding_unit,
    coalesce(ranked.minimum_minutes, 0) * 60 as minimum_seconds,
    ranked.overtime_after_minutes * 60 as overtime_after_seconds,
    (coalesce(ranked.overtime_multiplier, 1) * 10000)::bigint as overtime_factor,
    (coalesce(ranked.weekend_multiplier, 1) * 10000)::bigint as weekend_factor,
    coalesce(ranked.prepaid_minutes, 0) * 60 as prepaid_seconds,
    coalesce(ranked.prepaid_period, 'lifetime') as prepaid_period,
    ranked.cap_minutes * 60 as cap_seconds,
    source.ten_thousandths(ranked.cap_amount) // currency.minor_step as cap_minor,
    coalesce(ranked.cap_period, 'lifetime') as cap_period,
    (1000000 - coalesce(ranked.discount_percent, 0) * 10000)::bigint as discount_factor,
    -- Beyond this many days every due date lies beyond the calendar. A contract with fewer than none is not valid.
    greatest(least(coalesce(ranked.grace_days, 0), 4000000), -4000000)::integer as grace_days,
    coalesce(ranked.grace_from, 'worked_on') as grace_from,
    coalesce(
        ranked.threshold_amount,
        own_threshold.threshold_amount,
        (select threshold_amount from temp.threshold where threshold.currency is null)
    ) as threshold_amount,
    -- Where the currency is unknown nothing is priced.
    coalesce(currency.minor_step, 100) as minor_step,
    coalesce(currency.minor_factor, 100) as minor_factor,
    coalesce(currency.minor_unit, 0.01) as minor_unit
from ranked
left join temp.currency on ranked.currency = currency.currency
left join temp.threshold as own_threshold on ranked.currency = own_threshold.currency
left join invalid on ranked.contract_id = invalid.contract_id
where ranked.is_last
""",
    "work.project": """\
-- One row per project under a contract in scope that is not in quarantine (project_id, contract_id).
select
    project_id,
    contract_id,
    coalesce(is_billable, true) as is_billable
from temp.project_row
anti join (select row_id from temp.row_reason where dataset = 'projects') using (row_id)
""",
    "work.rate": """\
-- One row per rate of a contract in scope that is not in quarantine (row_id).
-- Of the rates that match a log the greatest precedence wins; equal precedence means equal scope and start.
with

scoped as (

    select
        *,
        case when person is null then 0 else 8 end
        + case when task is null then 0 else 4 end
        + case when role is null then 0 else 2 end
        + case when project_id is null then 0 else 1 end as specificity
    from temp.rate_row
    anti join (select row_id from temp.row_reason where dataset = 'rates') using (row_id)

)

select
    row_id,
    contract_id,
    project_id,
    person,
    role,
    task,
    valid_from,
    coalesce(valid_to, 'infinity') as valid_to,
    (hourly_rate * 10000)::bigint as hourly_rate_scaled,
    -- Counted over all contracts: for few rows a window with partitions costs DuckDB three times as much.
    dense_rank() over (
        order by contract_id, specificity, valid_from, project_id, person, role, task
    ) as precedence
from scoped
""",
    "work.invoice": """\
-- One row per invoice in scope that is not in quarantine (invoice_id).
select
    invoice_row.invoice_id,
    invoice_row.contract_id,
    invoice_row.currency,
    invoice_row.issued_on,
    invoice_row.status,
    invoice_row.status in ('issued', 'paid') as is_live,
    coalesce(invoice_row.currency = contract.currency, false) as is_in_currency,
    contract.billing_model,
    contract.minor_step
from temp.invoice_row
inner join temp.contract using (contract_id)
anti join (select row_id from temp.row_reason where dataset = 'invoices') using (row_id)
""",
    "matching.contract_in_force": """\
-- One row per time log in scope whose project has a contract in force on its day (row_id), also of logs in quarantine.
with

winners as (

    select
        log_row.row_id,
        max(contract_version.precedence) as precedence
    from temp.log_row
    inner join temp.project using (project_id)
    inner join temp.contract_version
        on
            project.contract_id = contract_version.contract_id
            and log_row.worked_on between contract_version.starts_on and contract_version.ends_on
    group by log_row.row_id

)

select
    winners.row_id,
    contract_version.contract_id
from winners
inner join temp.contract_version using (precedence)
""",
    "work.line": """\
-- One row per invoice line in scope that is not in quarantine (row_id), with what its invoice makes of it.
-- A line that bills time logs, or a period, before from_day is left out: what it bills is as it was.
-- amount_minor counts whole minor units of the contract's currency, where the line is in that currency.
-- is_matched: the line takes part in the matching of time logs. Its other cells stay in line_row.
select
    line_row.row_id,
    invoice.contract_id,
    line_row.invoice_id,
    line_row.time_log_id,
    line_row.seconds,
    line_row.net_amount,
    case when invoice.is_in_currency then source.ten_thousandths(line_row.net_amount) // invoice.minor_step end
        as amount_minor,
    line_row.kind = 'time' as is_time,
    invoice.is_live,
    invoice.is_in_currency,
    line_row.kind = 'time'
    and invoice.is_live
    and invoice.is_in_currency
    and invoice.billing_model = 'time_and_materials' as is_matched
from temp.line_row
inner join temp.invoice using (invoice_id)
inner join temp.scope_contract on invoice.contract_id = scope_contract.contract_id
anti join (select row_id from temp.row_reason where dataset = 'invoice_lines') as set_aside
    on line_row.row_id = set_aside.row_id
where
    scope_contract.from_day = '-infinity'
    or not (
        line_row.kind = 'time' and invoice.is_live and invoice.is_in_currency
        and invoice.billing_model = 'time_and_materials'
    )
    or case
        when line_row.time_log_id is null then coalesce(line_row.period_end >= scope_contract.from_day, true)
        else line_row.time_log_id in (
            select time_log_id
            from temp.log_row
            where time_log_id is not null and (select bool_or(from_day > '-infinity') from temp.scope_contract)
        )
    end
""",
    "work.in_force": """\
-- One row per time log in scope whose project has a contract in force on its day (row_id).
from matching.contract_in_force
""",
    "finding_rules.currency_mismatch": """\
-- A time line on a live invoice whose currency is not its contract's: matched to nothing, in the invoice's currency.
select
    'overbilled' as side,
    line.contract_id,
    'line:' || line.invoice_id || '/' || line_row.line_no as about,
    line.seconds,
    line.net_amount as foreign_amount,
    invoice.currency as foreign_currency,
    line.invoice_id as invoice_ids
from temp.line
inner join temp.line_row using (row_id)
inner join temp.invoice on line.invoice_id = invoice.invoice_id
where
    line.is_time
    and line.is_live
    and not line.is_in_currency
    and invoice.billing_model = 'time_and_materials'
""",
    "work.pool": """\
-- One row per contract and scope of its pooled lines (contract_id, about).
-- Of the pools that match a log the lowest place wins; place is NULL where the pool can match nothing.
with

pools as (

    select
        line.contract_id,
        line_row.project_id,
        line_row.person,
        line_row.role,
        line_row.task,
        line_row.period_start,
        line_row.period_end,
        sum(line.amount_minor)::bigint as amount_minor,
        coalesce(sum(line.seconds), 0)::bigint as seconds,
        min((line.invoice_id, line_row.line_no)) as first_line,
        array_to_string(list_sort(list_distinct(list(line.invoice_id))), ', ') as invoice_ids
    from temp.line
    inner join temp.line_row using (row_id)
    where line.is_matched and line.time_log_id is null
    group by
        line.contract_id,
        line_row.project_id,
        line_row.person,
        line_row.role,
        line_row.task,
        line_row.period_start,
        line_row.period_end

),

described as (

    select
        *,
        seconds > 0 and coalesce(period_start <= period_end, true) as can_match,
        case when person is null then 0 else 8 end
        + case when task is null then 0 else 4 end
        + case when role is null then 0 else 2 end
        + case when project_id is null then 0 else 1 end as specificity,
        concat_ws(
            '|',
            'pool:' || source.scope_part(project_id),
            source.scope_part(person),
            source.scope_part(role),
            source.scope_part(task),
            coalesce(period_start::varchar, ''),
            coalesce(period_end::varchar, '')
        ) as about
    from pools

)

select
    * exclude (specificity, can_match, first_line),
    case
        when can_match
            then
                row_number() over (
                    partition by contract_id, can_match
                    order by specificity desc, period_end - period_start nulls last, first_line
                )
    end as place
from described
""",
    "matching.nearest_contract": """\
-- One row per trustworthy time log in scope without a contract in force (row_id): the contract of its project that is
-- nearest in time, and the day of that contract nearest to the log.
with

candidates as (

    select
        log_row.row_id,
        log_row.worked_on,
        contract_version.contract_id,
        contract_version.starts_on,
        contract_version.ends_on,
        contract_version.ends_on < contract_version.starts_on as is_inverted,
        case when log_row.worked_on > contract_version.ends_on then log_row.worked_on - contract_version.ends_on end
            as days_after,
        case when log_row.worked_on < contract_version.starts_on then contract_version.starts_on - log_row.worked_on end
            as days_before
    from temp.log_row
    inner join temp.project using (project_id)
    inner join temp.contract_version using (contract_id)
    anti join (select row_id from temp.row_reason where dataset = 'time_logs') using (row_id)
    anti join temp.in_force using (row_id)

),

ranked as (

    select
        *,
        row_number() over (
            partition by row_id
            order by
                is_inverted,
                -- A log may lie both after the end and before the start of an inverted contract: the nearer counts.
                least(days_after, days_before),
                coalesce(days_after <= coalesce(days_before, days_after), false) desc,
                contract_id desc
        ) as place
    from candidates

)

select
    row_id,
    contract_id,
    case when days_after <= coalesce(days_before, days_after) then ends_on else starts_on end as rate_on
from ranked
where place = 1
""",
    "reconcile.stored_finding": """\
-- One row per open finding of a contract in scope (finding_id), as the newest run stored it. is_looked_at: whether this
-- run finds it again if it still holds; the others, from before from_day, stay as they are. Of lines a run of later
-- weeks reads all that match no time log, of pools those that reach into these weeks.
select
    finding_open.*,
    scope_contract.from_day = '-infinity'
    or finding_open.about like 'line:%'
    or pool.about is not null
    or coalesce(finding_open.worked_on >= scope_contract.from_day, false) as is_looked_at
from audit.finding_open
inner join temp.scope_contract using (contract_id)
left join temp.pool on finding_open.contract_id = pool.contract_id and finding_open.about = pool.about
where
    source.is_in_scope(finding_open.home_hash)
""",
    "work.log_contract": """\
-- One row per time log in scope (row_id): the contract it belongs to and how it got there. match is in_force, nearest
-- (a trustworthy log out of term), only (a log in quarantine whose project has one contract) or NULL (nobody's).
-- is_trusted: no reason so far; is_chargeable: trusted, in force, billable and approved.
with

untrusted as (

    select distinct row_id
    from temp.row_reason
    where dataset = 'time_logs'

),

only_contracts as (

    select
        project_id,
        min(contract_id) as contract_id
    from temp.project
    group by project_id
    having count(*) = 1

),

matched as (

    select
        log_row.row_id,
        log_row.project_id,
        log_row.worked_on,
        coalesce(log_row.is_billable, true) as is_billable,
        coalesce(log_row.is_approved, true) as is_approved,
        untrusted.row_id is null as is_trusted,
        case
            when in_force.row_id is not null then 'in_force'
            when nearest_contract.row_id is not null then 'nearest'
            when only_contracts.contract_id is not null then 'only'
        end as match,
        coalesce(in_force.contract_id, nearest_contract.contract_id, only_contracts.contract_id) as contract_id,
        coalesce(nearest_contract.rate_on, log_row.worked_on) as rate_on
    from temp.log_row
    left join untrusted on log_row.row_id = untrusted.row_id
    left join temp.in_force on log_row.row_id = in_force.row_id
    left join matching.nearest_contract on log_row.row_id = nearest_contract.row_id
    left join only_contracts on log_row.project_id = only_contracts.project_id

)

select
    matched.row_id,
    matched.match,
    matched.contract_id,
    matched.rate_on,
    matched.is_trusted,
    matched.is_billable,
    matched.is_approved,
    coalesce(project.is_billable, true) as is_project_billable,
    matched.is_trusted
    and coalesce(matched.match = 'in_force', false)
    and matched.is_billable
    and matched.is_approved
    and coalesce(project.is_billable, true) as is_chargeable
from matched
left join temp.project
    on matched.project_id = project.project_id and matched.contract_id = project.contract_id
""",
    "work.kept_finding": """\
-- One row per sum of open findings of a contract in scope that stay as they are (contract_id, currency, side,
-- has_expected: whether they are of eligible time logs).
select
    contract_id,
    currency,
    side,
    expected_amount is not null as has_expected,
    sum(amount) as amount,
    min(worked_on) as worked_on
from reconcile.stored_finding
where not is_looked_at
group by contract_id, currency, side, has_expected
""",
    "coverage_rules.invalid_contract": """\
-- A billable, approved time log falls under a contract that has a reason of its own.
select
    'time_logs' as dataset,
    log_contract.row_id,
    log_contract.contract_id as detail
from temp.log_contract
inner join temp.contract using (contract_id)
where
    log_contract.is_chargeable
    and not contract.is_valid
""",
    "work.log_rate": """\
-- One row per trustworthy time log in scope that a rate of its contract matches (row_id).
-- Precedence and rate travel in one number, so that one pass finds the winner and whether it is alone. A precedence
-- counts over all contracts of a run, so the number may need more than 64 bits.
with

matches as (

    select
        log_contract.row_id,
        max(rate.precedence::hugeint * 10000000000000 + rate.hourly_rate_scaled) as highest,
        max(rate.precedence::hugeint * 10000000000000 + 9999999999999 - rate.hourly_rate_scaled) as lowest
    from temp.log_contract
    inner join temp.log_row using (row_id)
    inner join temp.rate
        on
            log_contract.contract_id = rate.contract_id
            and log_contract.rate_on >= rate.valid_from
            and log_contract.rate_on < rate.valid_to
            and (rate.person is null or log_row.person = rate.person)
            and (rate.task is null or log_row.task = rate.task)
            and (rate.role is null or log_row.role = rate.role)
            and (rate.project_id is null or log_row.project_id = rate.project_id)
    where log_contract.is_trusted
    group by log_contract.row_id

)

select
    row_id,
    (highest % 10000000000000)::bigint as hourly_rate_scaled,
    highest % 10000000000000 != 9999999999999 - lowest % 10000000000000 as is_ambiguous
from matches
""",
    "coverage_rules.ambiguous_rate": """\
-- Two rates of the same rank differ for a billable, approved time log under a time-and-materials contract.
select
    'time_logs' as dataset,
    log_contract.row_id,
    log_contract.contract_id as detail
from temp.log_contract
inner join temp.contract using (contract_id)
inner join temp.log_rate using (row_id)
where
    log_contract.is_chargeable
    and contract.billing_model = 'time_and_materials'
    and log_rate.is_ambiguous
""",
    "coverage_rules.no_rate": """\
-- A billable, approved time log under a time-and-materials contract has no rate.
select
    'time_logs' as dataset,
    log_contract.row_id,
    log_contract.contract_id as detail
from temp.log_contract
inner join temp.contract using (contract_id)
anti join temp.log_rate using (row_id)
where
    log_contract.is_chargeable
    and contract.billing_model = 'time_and_materials'
""",
    "coverage_rules.all_rules": """\
-- Every row of every rule in this folder.
select 'ambiguous_rate' as rule_name, * from coverage_rules.ambiguous_rate
union all by name
select 'invalid_contract' as rule_name, * from coverage_rules.invalid_contract
union all by name
select 'no_rate' as rule_name, * from coverage_rules.no_rate
""",
    "work.reason": """\
-- One row per row in scope and reason to be in quarantine (dataset, row_id, reason): all of them, also those a time log
-- gets because no valid contract or no single rate covers it.
from temp.row_reason
union all by name
select
    rule_name as reason,
    dataset,
    row_id,
    detail
from coverage_rules.all_rules
""",
    "work.log": """\
-- One row per time log in scope (row_id): what became of it (status: quarantined, excluded, out_of_term or eligible).
-- hourly_rate_scaled is the one rate in ten-thousandths, NULL where there is none or the contract is invalid.
-- Texts stay in log_row: writing one costs as much as four numbers.
with

untrusted as (

    select distinct row_id
    from temp.reason
    where dataset = 'time_logs'

)

select
    log_row.row_id,
    log_row.worked_on,
    log_row.seconds,
    log_contract.contract_id,
    log_contract.match,
    log_contract.is_billable,
    log_contract.is_project_billable,
    case when contract.is_valid and not log_rate.is_ambiguous then log_rate.hourly_rate_scaled end
        as hourly_rate_scaled,
    case
        when untrusted.row_id is not null then 'quarantined'
        when not (log_contract.is_billable and log_contract.is_approved and log_contract.is_project_billable)
            then 'excluded'
        when log_contract.match = 'nearest' then 'out_of_term'
        when contract.billing_model = 'fixed_price' then 'excluded'
        else 'eligible'
    end as status,
    case
        when untrusted.row_id is not null then null
        when not (log_contract.is_billable and log_contract.is_project_billable) then 'non_billable'
        when not log_contract.is_approved then 'unapproved'
        when log_contract.match = 'nearest' then null
        when contract.billing_model = 'fixed_price' then 'fixed_price'
    end as excluded_as
from temp.log_row
inner join temp.log_contract using (row_id)
left join temp.contract on log_contract.contract_id = contract.contract_id
left join temp.log_rate on log_row.row_id = log_rate.row_id
left join untrusted on log_row.row_id = untrusted.row_id
""",
    "work.quarantined": """\
-- One row per row in scope that is set aside (entity, row_id), with all its reasons, and whose it is.
-- quarantine_id is a hash of data set, source, key and content: a new version is another row set aside.
with

reasons as (

    select
        dataset,
        row_id,
        -- A list that is sorted: string_agg with an order of its own takes ten times as long.
        array_to_string(list_sort(list(reason)), ',') as reasons,
        case
            when count(*) = 1 then any_value(detail)
            else array_to_string(list_sort(list(reason || ' (' || detail || ')') filter (where detail != '')), '; ')
        end as detail
    from temp.reason
    group by dataset, row_id

),

rows_set_aside as (

    select
        'contracts' as entity,
        contract_row.row_id,
        contract_row.source,
        contract_row.digest,
        contract_row.contract_id as key,
        contract_row.contract_hash,
        coalesce(contract_row.contract_id, '') as home,
        contract_row.contract_id,
        null::bigint as seconds,
        null::date as worked_on
    from temp.contract_row
    where contract_row.row_id in (select row_id from reasons where dataset = 'contracts')
    union all by name
    select
        'projects' as entity,
        project_row.row_id,
        project_row.source,
        project_row.digest,
        concat(project_row.project_id, '/', project_row.contract_id) as key,
        project_row.contract_hash,
        coalesce(project_row.contract_id, '') as home,
        project_row.contract_id
    from temp.project_row
    where project_row.row_id in (select row_id from reasons where dataset = 'projects')
    union all by name
    select
        'rates' as entity,
        rate_row.row_id,
        rate_row.source,
        rate_row.digest,
        concat(
            rate_row.contract_id, '/', rate_row.project_id, '/', rate_row.person, '/', rate_row.role, '/',
            rate_row.task, '/',
            coalesce(rate_row.valid_from::varchar, json_extract_string(rate_row.odd_cells, 'valid_from'))
        ) as key,
        rate_row.contract_hash,
        coalesce(rate_row.contract_id, '') as home,
        rate_row.contract_id
    from temp.rate_row
    where rate_row.row_id in (select row_id from reasons where dataset = 'rates')
    union all by name
    select
        'time_logs' as entity,
        log_row.row_id,
        log_row.source,
        log_row.digest,
        log_row.time_log_id as key,
        log_row.contract_hash,
        coalesce(log_row.project_id, '') as home,
        log_contract.contract_id,
        log_row.seconds,
        log_row.worked_on
    from temp.log_row
    inner join temp.log_contract using (row_id)
    where log_row.row_id in (select row_id from reasons where dataset = 'time_logs')
    union all by name
    select
        'invoices' as entity,
        invoice_row.row_id,
        invoice_row.source,
        invoice_row.digest,
        invoice_row.invoice_id as key,
        invoice_row.contract_hash,
        coalesce(invoice_row.invoice_id, '') as home,
        invoice_row.contract_id
    from temp.invoice_row
    where invoice_row.row_id in (select row_id from reasons where dataset = 'invoices')
    union all by name
    select
        'invoice_lines' as entity,
        line_row.row_id,
        line_row.source,
        line_row.digest,
        concat(
            line_row.invoice_id, '/',
            coalesce(line_row.line_no::varchar, json_extract_string(line_row.odd_cells, 'line_no'))
        ) as key,
        line_row.contract_hash,
        coalesce(line_row.invoice_id, '') as home,
        invoice.contract_id,
        line_row.seconds
    from temp.line_row
    left join temp.invoice on line_row.invoice_id = invoice.invoice_id
    where line_row.row_id in (select row_id from reasons where dataset = 'invoice_lines')

),

identified as (

    select
        *,
        left(md5(concat_ws(chr(31), entity, source, coalesce(key, ''), digest)), 16) as quarantine_id
    from rows_set_aside

),

waivers as (

    select
        quarantine_id,
        arg_max(decided_by, waiver_id) as waived_by,
        arg_max(reason, waiver_id) as waived_reason
    from audit.waiver
    group by quarantine_id

)

select
    identified.quarantine_id,
    identified.row_id,
    identified.contract_hash,
    identified.home,
    identified.entity,
    coalesce(identified.key, '') as key,
    contract.contract_id,
    contract.client,
    reasons.reasons,
    reasons.detail,
    identified.source,
    identified.seconds,
    identified.worked_on,
    case when waivers.quarantine_id is null then 'open' else 'waived' end as state,
    waivers.waived_by,
    waivers.waived_reason
from identified
inner join reasons on identified.entity = reasons.dataset and identified.row_id = reasons.row_id
left join temp.contract on identified.contract_id = contract.contract_id
left join waivers on identified.quarantine_id = waivers.quarantine_id
""",
    "billing.overrun": """\
-- One row per billable, approved time log of a fixed-price contract with a cap (row_id): its seconds beyond the cap.
with

logs as (

    select
        log.row_id,
        log.contract_id,
        log.worked_on,
        log.hourly_rate_scaled,
        log.seconds,
        log_row.time_log_id,
        datediff('month', date '1970-01-01', log.worked_on) as worked_month
    from temp.log
    inner join temp.log_row using (row_id)
    where log.excluded_as = 'fixed_price'

),

counted as (

    select
        logs.row_id,
        logs.contract_id,
        logs.hourly_rate_scaled,
        logs.seconds,
        contract.cap_seconds,
        sum(logs.seconds) over (
            partition by logs.contract_id, case contract.cap_period when 'month' then logs.worked_month else 0 end
            order by logs.worked_on, logs.time_log_id
        ) + case
            when contract.cap_period != 'month' then opening.fixed_seconds
            when logs.worked_month = opening.worked_month then opening.month_fixed_seconds
            else 0
        end as seconds_to_here
    from logs
    inner join temp.contract using (contract_id)
    inner join temp.opening using (contract_id)
    where contract.cap_seconds is not null

)

select
    row_id,
    contract_id,
    hourly_rate_scaled,
    (
        seconds
        - (least(seconds_to_here, cap_seconds) - least(seconds_to_here - seconds, cap_seconds))
    )::bigint as overrun_seconds
from counted
""",
    "pricing.eligible": """\
-- One row per eligible time log in scope (row_id), in the order its contract counts in (place).
-- The chain carries numbers only; who did what is joined where a step asks for it, and at the end.
select
    log.row_id,
    log.contract_id,
    log.worked_on,
    log.seconds,
    log.hourly_rate_scaled,
    -- DuckDB's year() and month() make a table of all days between 1970 and 2050 each time a statement begins.
    datediff('month', date '1970-01-01', log.worked_on) as worked_month,
    row_number() over (partition by log.contract_id order by log.worked_on, log_row.time_log_id) as place
from temp.log
inner join temp.log_row using (row_id)
where log.status = 'eligible'
""",
    "work.log_count": """\
-- One row per project in scope and week from its from_day on that has live time logs (project_id, week): where these
-- ended up. The id is empty for logs that name none, the week (see balance) NULL for those without a date.
-- logs_received counts the source table itself, not what the views made of it.
with

received as (

    select
        scope_project.home_hash,
        scope_project.project_id,
        time_logs.worked_on,
        count(*) as logs_received,
        coalesce(sum(time_logs.seconds), 0) as seconds_received
    from source.time_logs
    inner join temp.scope_project on coalesce(time_logs.project_id, '') = scope_project.project_id
    where
        time_logs.ended_load_id is null
        and source.is_in_scope(time_logs.contract_hash)
        and source.is_from_first_day(time_logs.worked_on, getvariable('reads_all_days'))
        and coalesce(time_logs.worked_on >= scope_project.from_day, true)
    group by scope_project.home_hash, scope_project.project_id, time_logs.worked_on

),

counted as (

    select
        log_row.home_hash,
        coalesce(log_row.project_id, '') as project_id,
        log.worked_on,
        count(*) filter (where log.status = 'eligible') as logs_eligible,
        count(*) filter (where log.status = 'quarantined') as logs_quarantined,
        count(*) filter (where log.status = 'excluded') as logs_excluded,
        count(*) filter (where log.status = 'out_of_term') as logs_out_of_term,
        coalesce(sum(log.seconds), 0) as seconds_counted
    from temp.log
    inner join temp.log_row using (row_id)
    group by log_row.home_hash, coalesce(log_row.project_id, ''), log.worked_on

),

parts as (

    from received
    union all by name
    from counted

)

select
    home_hash,
    project_id,
    worked_on - ((worked_on - date_trunc('month', worked_on)::date) % 7)::integer as week,
    coalesce(sum(logs_received), 0)::bigint as logs_received,
    coalesce(sum(logs_eligible), 0)::bigint as logs_eligible,
    coalesce(sum(logs_quarantined), 0)::bigint as logs_quarantined,
    coalesce(sum(logs_excluded), 0)::bigint as logs_excluded,
    coalesce(sum(logs_out_of_term), 0)::bigint as logs_out_of_term,
    coalesce(sum(seconds_received), 0) as seconds_received,
    coalesce(sum(seconds_counted), 0) as seconds_counted
from parts
group by home_hash, project_id, week
""",
    "work.quarantine_change": """\
-- One row per row set aside in scope that differs from what is open (quarantine_id): change is opened, changed, closed.
-- A row that left did so because a new version superseded it, or because it became valid or disappeared (resolved).
with

-- The number a row is found by says nothing about it, and may be another one since.
fresh as (

    select quarantined.*
    from temp.quarantined
    anti join temp.open_quarantine
        on
            quarantined.quarantine_id = open_quarantine.quarantine_id
            and quarantined.row_id = open_quarantine.row_id
            and quarantined.home = open_quarantine.home
            and quarantined.entity = open_quarantine.entity
            and quarantined.key = open_quarantine.key
            and quarantined.contract_id is not distinct from open_quarantine.contract_id
            and quarantined.client is not distinct from open_quarantine.client
            and quarantined.reasons = open_quarantine.reasons
            and quarantined.detail is not distinct from open_quarantine.detail
            and quarantined.source = open_quarantine.source
            and quarantined.seconds is not distinct from open_quarantine.seconds
            and quarantined.worked_on is not distinct from open_quarantine.worked_on
            and quarantined.state = open_quarantine.state
            and quarantined.waived_by is not distinct from open_quarantine.waived_by
            and quarantined.waived_reason is not distinct from open_quarantine.waived_reason

),

gone as (

    select open_quarantine.*
    from temp.open_quarantine
    anti join temp.quarantined on open_quarantine.quarantine_id = quarantined.quarantine_id

)

select
    fresh.*,
    open_quarantine.opened_run_id,
    case when open_quarantine.quarantine_id is null then 'opened' else 'changed' end as change
from fresh
left join temp.open_quarantine on fresh.quarantine_id = open_quarantine.quarantine_id
union all by name
select
    gone.* replace (
        case
            when superseded.row_id is null then 'resolved'
            else 'superseded'
        end as state
    ),
    'closed' as change
from gone
left join reconcile.superseded_row as superseded
    on gone.entity = superseded.dataset and gone.row_id = superseded.row_id
""",
    "billing.estimate": """\
-- One row per time log outside the pricing chain that may be worth something (row_id): its seconds at its rate alone.
-- The amount is NULL where there is no single rate or the contract is invalid.
with

candidates as (

    select
        row_id,
        contract_id,
        hourly_rate_scaled,
        seconds,
        'out_of_term' as class
    from temp.log
    where status = 'out_of_term'
    union all by name
    select
        log.row_id,
        log.contract_id,
        log.hourly_rate_scaled,
        log.seconds,
        case log.excluded_as when 'unapproved' then 'unapproved' else 'non_billable_time' end as class
    from temp.log
    inner join temp.contract using (contract_id)
    where
        log.match = 'in_force'
        and contract.billing_model = 'time_and_materials'
        and log.is_project_billable
        and (log.excluded_as = 'unapproved' or (log.excluded_as = 'non_billable' and not log.is_billable))
    union all by name
    select
        row_id,
        contract_id,
        hourly_rate_scaled,
        overrun_seconds as seconds,
        'fixed_price_overrun' as class
    from billing.overrun
    where overrun_seconds > 0

),

valued as (

    select
        candidates.*,
        2 * candidates.seconds::hugeint * candidates.hourly_rate_scaled * contract.minor_factor + 36000000 as numerator
    from candidates
    inner join temp.contract using (contract_id)

)

select
    valued.row_id,
    valued.contract_id,
    log_row.time_log_id,
    valued.class,
    valued.seconds,
    -- DuckDB divides numbers of up to 18 digits fifty times faster than longer ones.
    case
        when valued.numerator < 4000000000000000000 then valued.numerator::bigint // 72000000
        else (valued.numerator // 72000000)::bigint
    end as amount_minor
from valued
inner join temp.log_row using (row_id)
""",
    "pricing.rounded": """\
-- One row per eligible time log (row_id): its seconds rounded, alone or with the rest of its day.
-- In a day unit each log gets what it adds to the rounded day; the last also gets what is left of it.
with

-- DuckDB computes a CTE that two branches read once, a view twice.
logs as (

    select
        eligible.*,
        contract.rounding_seconds,
        contract.rounding_mode,
        contract.rounding_unit,
        contract.minimum_seconds
    from pricing.eligible
    inner join temp.contract using (contract_id)

),

days as (

    select
        logs.*,
        log_row.project_id,
        log_row.person,
        log_row.task
    from logs
    inner join temp.log_row using (row_id)
    where logs.rounding_unit != 'entry'

),

units as (

    select
        *,
        seconds as unit_seconds,
        seconds as unit_seconds_to_here,
        true as is_last
    from logs
    where rounding_unit = 'entry'
    union all by name
    select
        *,
        (sum(seconds) over (partition by contract_id, project_id, person, task, worked_on))::bigint as unit_seconds,
        (sum(seconds) over in_order)::bigint as unit_seconds_to_here,
        lead(row_id) over in_order is null as is_last
    from days
    window in_order as (partition by contract_id, project_id, person, task, worked_on order by place)

),

rounded as (

    select
        *,
        greatest(
            case
                when rounding_seconds = 0 then unit_seconds
                when rounding_mode = 'down' then unit_seconds // rounding_seconds * rounding_seconds
                when rounding_mode = 'nearest'
                    then (2 * unit_seconds + rounding_seconds) // (2 * rounding_seconds) * rounding_seconds
                else (unit_seconds + rounding_seconds - 1) // rounding_seconds * rounding_seconds
            end,
            minimum_seconds
        ) as unit_rounded_seconds
    from units

)

select
    row_id,
    contract_id,
    worked_on,
    worked_month,
    place,
    seconds,
    hourly_rate_scaled,
    unit_seconds,
    unit_rounded_seconds,
    least(unit_seconds_to_here, unit_rounded_seconds)
    - least(unit_seconds_to_here - seconds, unit_rounded_seconds)
    + case when is_last then greatest(unit_rounded_seconds - unit_seconds, 0) else 0 end as rounded_seconds
from rounded
""",
    "reconcile.raw_row": """\
-- One row per source row this run sets aside (dataset, row_id): its cells as JSON text, as given, or rebuilt from what
-- was read of them. Of the large tables the cycle says which contracts are in scope, and between which numbers the rows
-- lie that it sets aside: the rest is passed over before its cells are read.
select
    'contracts' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'contract_id', contract_id::varchar,
            'client', client::varchar,
            'currency', currency::varchar,
            'billing_model', billing_model::varchar,
            'starts_on', starts_on::varchar,
            'ends_on', ends_on::varchar,
            'rounding_minutes', rounding_minutes::varchar,
            'rounding_mode', rounding_mode::varchar,
            'rounding_unit', rounding_unit::varchar,
            'minimum_minutes', minimum_minutes::varchar,
            'overtime_after_minutes', overtime_after_minutes::varchar,
            'overtime_multiplier', overtime_multiplier::varchar,
            'weekend_multiplier', weekend_multiplier::varchar,
            'prepaid_minutes', prepaid_minutes::varchar,
            'prepaid_period', prepaid_period::varchar,
            'cap_minutes', cap_minutes::varchar,
            'cap_amount', cap_amount::varchar,
            'cap_period', cap_period::varchar,
            'discount_percent', discount_percent::varchar,
            'grace_days', grace_days::varchar,
            'grace_from', grace_from::varchar,
            'threshold_amount', threshold_amount::varchar
        )::varchar
    ) as raw
from source.contracts
where row_id in (select row_id from temp.quarantine_change where entity = 'contracts' and change = 'opened')
union all by name
select
    'projects' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'project_id', project_id::varchar,
            'contract_id', contract_id::varchar,
            'name', name::varchar,
            'is_billable', is_billable::varchar
        )::varchar
    ) as raw
from source.projects
where row_id in (select row_id from temp.quarantine_change where entity = 'projects' and change = 'opened')
union all by name
select
    'rates' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'contract_id', contract_id::varchar,
            'project_id', project_id::varchar,
            'person', person::varchar,
            'role', role::varchar,
            'task', task::varchar,
            'hourly_rate', hourly_rate::varchar,
            'valid_from', valid_from::varchar,
            'valid_to', valid_to::varchar
        )::varchar
    ) as raw
from source.rates
where row_id in (select row_id from temp.quarantine_change where entity = 'rates' and change = 'opened')
union all by name
select
    'time_logs' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'time_log_id', time_log_id::varchar,
            'project_id', project_id::varchar,
            'person', person::varchar,
            'role', role::varchar,
            'task', task::varchar,
            'worked_on', worked_on::varchar,
            'seconds', seconds::varchar,
            'is_billable', is_billable::varchar,
            'is_approved', is_approved::varchar,
            'entered_at', entered_at::varchar,
            'note', note::varchar
        )::varchar
    ) as raw
from source.time_logs
where
    source.is_in_scope(contract_hash)
    and row_id >= list_min(getvariable('opened_time_logs')::bigint[])
    and row_id <= list_max(getvariable('opened_time_logs')::bigint[])
    and row_id in (select row_id from temp.quarantine_change where entity = 'time_logs' and change = 'opened')
union all by name
select
    'invoices' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'invoice_id', invoice_id::varchar,
            'contract_id', contract_id::varchar,
            'currency', currency::varchar,
            'issued_on', issued_on::varchar,
            'status', status::varchar
        )::varchar
    ) as raw
from source.invoices
where row_id in (select row_id from temp.quarantine_change where entity = 'invoices' and change = 'opened')
union all by name
select
    'invoice_lines' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'invoice_id', invoice_id::varchar,
            'line_no', line_no::varchar,
            'kind', kind::varchar,
            'time_log_id', time_log_id::varchar,
            'project_id', project_id::varchar,
            'person', person::varchar,
            'role', role::varchar,
            'task', task::varchar,
            'period_start', period_start::varchar,
            'period_end', period_end::varchar,
            'seconds', seconds::varchar,
            'net_amount', net_amount::varchar
        )::varchar
    ) as raw
from source.invoice_lines
where
    source.is_in_scope(contract_hash)
    and row_id >= list_min(getvariable('opened_invoice_lines')::bigint[])
    and row_id <= list_max(getvariable('opened_invoice_lines')::bigint[])
    and row_id in (select row_id from temp.quarantine_change where entity = 'invoice_lines' and change = 'opened')
""",
    "work.estimate": """\
-- One row per time log in scope outside the pricing chain that may be worth something (row_id).
from billing.estimate
""",
    "pricing.overtime": """\
-- One row per eligible time log (row_id): its rounded seconds as regular ones and overtime, per person and day.
with

logs as (

    select
        rounded.*,
        contract.overtime_after_seconds
    from pricing.rounded
    inner join temp.contract using (contract_id)

),

counted as (

    select
        logs.*,
        (sum(logs.rounded_seconds) over (
            partition by logs.contract_id, log_row.person, logs.worked_on
            order by logs.place
        ))::bigint as day_seconds_to_here
    from logs
    inner join temp.log_row using (row_id)
    where logs.overtime_after_seconds is not null
    union all by name
    select *
    from logs
    where overtime_after_seconds is null

)

select
    * exclude (overtime_after_seconds),
    case
        when overtime_after_seconds is null then rounded_seconds
        else
            least(day_seconds_to_here, overtime_after_seconds)
            - least(day_seconds_to_here - rounded_seconds, overtime_after_seconds)
    end as regular_seconds,
    rounded_seconds - regular_seconds as overtime_seconds
from counted
""",
    "finding_rules.fixed_price_overrun": """\
-- Work beyond the cap of a fixed-price contract, estimated.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    seconds,
    amount_minor
from temp.estimate
where class = 'fixed_price_overrun'
""",
    "finding_rules.non_billable_time": """\
-- Time marked not billable on a billable project, estimated.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    seconds,
    amount_minor
from temp.estimate
where class = 'non_billable_time'
""",
    "finding_rules.out_of_term": """\
-- Billable work on a day no contract of its project covers, estimated at the nearest one.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    seconds,
    amount_minor
from temp.estimate
where class = 'out_of_term'
""",
    "finding_rules.unapproved": """\
-- Billable time nobody approved yet, estimated.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    seconds,
    amount_minor
from temp.estimate
where class = 'unapproved'
""",
    "pricing.prepaid": """\
-- One row per eligible time log (row_id): what of it the contract's prepaid time has already paid, regular seconds
-- first.
with

logs as (

    select
        overtime.*,
        contract.prepaid_seconds as prepaid_limit_seconds,
        contract.prepaid_period
    from pricing.overtime
    inner join temp.contract using (contract_id)

),

counted as (

    select
        logs.*,
        (sum(logs.rounded_seconds) over (
            partition by logs.contract_id, case logs.prepaid_period when 'month' then logs.worked_month else 0 end
            order by logs.place
        ) + case
            when logs.prepaid_period != 'month' then opening.rounded_seconds
            when logs.worked_month = opening.worked_month then opening.month_rounded_seconds
            else 0
        end)::bigint
            as prepaid_seconds_to_here
    from logs
    inner join temp.opening using (contract_id)
    where logs.prepaid_limit_seconds > 0
    union all by name
    select *
    from logs
    where prepaid_limit_seconds <= 0

),

used as (

    select
        * exclude (prepaid_limit_seconds, prepaid_period),
        case
            when prepaid_limit_seconds <= 0 then 0
            else
                least(prepaid_seconds_to_here, prepaid_limit_seconds)
                - least(prepaid_seconds_to_here - rounded_seconds, prepaid_limit_seconds)
        end as prepaid_seconds
    from counted

)

select
    *,
    regular_seconds - least(regular_seconds, prepaid_seconds) as unpaid_regular_seconds,
    overtime_seconds - (prepaid_seconds - least(regular_seconds, prepaid_seconds)) as unpaid_overtime_seconds
from used
""",
    "pricing.hours_cap": """\
-- One row per eligible time log (row_id): what of it lies within the contract's hours cap, regular seconds first.
with

logs as (

    select
        prepaid.*,
        contract.cap_seconds as cap_limit_seconds,
        contract.cap_period
    from pricing.prepaid
    inner join temp.contract using (contract_id)

),

counted as (

    select
        logs.*,
        (sum(logs.unpaid_regular_seconds + logs.unpaid_overtime_seconds) over (
            partition by logs.contract_id, case logs.cap_period when 'month' then logs.worked_month else 0 end
            order by logs.place
        ) + case
            when logs.cap_period != 'month' then opening.unpaid_seconds
            when logs.worked_month = opening.worked_month then opening.month_unpaid_seconds
            else 0
        end)::bigint as cap_seconds_to_here
    from logs
    inner join temp.opening using (contract_id)
    where logs.cap_limit_seconds is not null
    union all by name
    select *
    from logs
    where cap_limit_seconds is null

),

capped as (

    select
        * exclude (cap_limit_seconds),
        case
            when cap_limit_seconds is null then unpaid_regular_seconds + unpaid_overtime_seconds
            else
                least(cap_seconds_to_here, cap_limit_seconds)
                - least(cap_seconds_to_here - unpaid_regular_seconds - unpaid_overtime_seconds, cap_limit_seconds)
        end as payable_seconds
    from counted

)

select
    *,
    least(unpaid_regular_seconds, payable_seconds) as payable_regular_seconds,
    payable_seconds - least(unpaid_regular_seconds, payable_seconds) as payable_overtime_seconds
from capped
""",
    "pricing.amount": """\
-- One row per eligible time log (row_id): its price in minor units, and that of its seconds over the cap.
-- Everything is a whole number: seconds, and factors in ten-thousandths. One division per amount, half away from zero.
with

-- price = seconds x factor x rate x discount_factor / divisor, in lowest terms, because DuckDB divides numbers of up to
-- 18 digits fifty times faster than longer ones.
terms as (

    select
        contract_id,
        cap_minor,
        discount_factor,
        weekend_factor,
        overtime_factor,
        gcd(10000, gcd(overtime_factor, weekend_factor)) as common_factor,
        360000::hugeint * 1000000000000 // minor_factor // common_factor as whole_divisor,
        gcd(discount_factor::hugeint, whole_divisor) as common_divisor,
        discount_factor::hugeint // common_divisor as short_discount_factor,
        whole_divisor // common_divisor as divisor
    from temp.contract

),

factors as (

    select
        hours_cap.*,
        terms.cap_minor,
        terms.discount_factor,
        terms.common_factor,
        terms.short_discount_factor,
        terms.divisor,
        case when isodow(hours_cap.worked_on) >= 6 then terms.weekend_factor else 10000 end as regular_factor,
        greatest(terms.overtime_factor, regular_factor) as overtime_factor
    from pricing.hours_cap
    inner join terms using (contract_id)

),

numerators as (

    select
        *,
        (
            payable_regular_seconds::hugeint * (regular_factor // common_factor)
            + payable_overtime_seconds::hugeint * (overtime_factor // common_factor)
        ) * hourly_rate_scaled * short_discount_factor as numerator,
        case
            when unpaid_regular_seconds + unpaid_overtime_seconds > payable_seconds
                then
                    (
                        (unpaid_regular_seconds - payable_regular_seconds)::hugeint * (regular_factor // common_factor)
                        + (unpaid_overtime_seconds - payable_overtime_seconds)::hugeint
                        * (overtime_factor // common_factor)
                    ) * hourly_rate_scaled * short_discount_factor
        end as over_cap_numerator
    from factors

)

select
    * exclude (numerator, over_cap_numerator, divisor, common_factor, short_discount_factor),
    case
        when numerator < 4000000000000000000 and divisor < 1000000000000000000
            then (2 * numerator + divisor)::bigint // (2 * divisor)::bigint
        else ((2 * numerator + divisor) // (2 * divisor))::bigint
    end as amount_minor,
    coalesce((2 * over_cap_numerator + divisor) // (2 * divisor), 0)::bigint as over_cap_seconds_minor
from numerators
""",
    "pricing.money_cap": """\
-- One row per eligible time log (row_id): what is owed for it within the contract's money cap.
with

logs as (

    select *
    from pricing.amount

),

counted as (

    select
        logs.*,
        sum(logs.amount_minor) over (
            partition by logs.contract_id, case logs.cap_period when 'month' then logs.worked_month else 0 end
            order by logs.place
        ) + case
            when logs.cap_period != 'month' then opening.amount_minor
            when logs.worked_month = opening.worked_month then opening.month_amount_minor
            else 0
        end as amount_minor_to_here
    from logs
    inner join temp.opening using (contract_id)
    where logs.cap_minor is not null
    union all by name
    select *
    from logs
    where cap_minor is null

)

select
    *,
    case
        when cap_minor is null then amount_minor
        else least(amount_minor_to_here, cap_minor) - least(amount_minor_to_here - amount_minor, cap_minor)
    end::bigint as expected_minor,
    over_cap_seconds_minor + amount_minor - expected_minor as over_cap_minor
from counted
""",
    "work.priced_log": """\
-- One row per eligible time log in scope (row_id): what the pricing chain says is owed for it.
-- Only what later steps read is kept: writing a table costs by the column. pricing.money_cap has every step.
select
    row_id,
    contract_id,
    place,
    worked_on,
    worked_month,
    rounded_seconds,
    payable_seconds,
    unpaid_regular_seconds + unpaid_overtime_seconds - payable_seconds as over_cap_seconds,
    amount_minor,
    expected_minor,
    over_cap_minor
from pricing.money_cap
""",
    "work.direct": """\
-- One row per contract and time log id that its matched lines name (contract_id, time_log_id).
-- row_id is the eligible log of that contract, NULL where there is none: such lines bill nothing.
with

by_log as (

    select
        contract_id,
        time_log_id,
        sum(amount_minor)::bigint as billed_minor,
        sum(seconds)::bigint as billed_seconds,
        count(*) as line_count,
        count(*) = count(seconds) as has_all_seconds,
        min(invoice_id) = max(invoice_id) as has_one_invoice
    from temp.line
    where is_matched and time_log_id is not null
    group by contract_id, time_log_id

),

priced as (

    select
        priced_log.row_id,
        priced_log.contract_id,
        log_row.time_log_id
    from temp.priced_log
    inner join temp.log_row using (row_id)

),

-- Few logs stand on several invoices; only theirs are added up invoice by invoice.
by_invoice as (

    select
        line.contract_id,
        line.time_log_id,
        line.invoice_id,
        sum(line.amount_minor) as amount_minor
    from temp.line
    inner join by_log using (contract_id, time_log_id)
    where line.is_matched and not by_log.has_one_invoice
    group by line.contract_id, line.time_log_id, line.invoice_id

),

by_several_invoices as (

    select
        contract_id,
        time_log_id,
        count(*) filter (where amount_minor > 0) as positive_invoice_count
    from by_invoice
    group by contract_id, time_log_id

)

select
    by_log.contract_id,
    by_log.time_log_id,
    by_log.billed_minor,
    by_log.billed_seconds,
    by_log.line_count,
    by_log.has_all_seconds,
    coalesce(
        by_several_invoices.positive_invoice_count,
        case when by_log.billed_minor > 0 then 1 else 0 end
    ) as positive_invoice_count,
    priced.row_id
from by_log
left join by_several_invoices using (contract_id, time_log_id)
left join priced using (contract_id, time_log_id)
""",
    "billing.pooled_log": """\
-- One row per eligible time log that a pool bills (row_id): the share of the pool's seconds and amount it gets.
-- In order, logs use the pool's seconds; each gets the rounded amount up to itself less what came before.
with

-- A pool of up to a year meets only the logs of its months: most pools are monthly, and a contract has many.
pool_months as (

    select
        *,
        unnest(
            range(
                datediff('month', date '1970-01-01', period_start),
                datediff('month', date '1970-01-01', period_end) + 1
            )
        ) as worked_month
    from temp.pool
    where place is not null and period_end - period_start <= 366

),

unbilled as (

    select
        priced_log.row_id,
        priced_log.contract_id,
        priced_log.place as log_place,
        priced_log.worked_on,
        priced_log.worked_month,
        log_row.project_id,
        log_row.person,
        log_row.role,
        log_row.task,
        priced_log.payable_seconds
    from temp.priced_log
    inner join temp.log_row using (row_id)
    anti join temp.direct on priced_log.row_id = direct.row_id
    where priced_log.payable_seconds > 0

),

matches as (

    select
        unbilled.row_id,
        unbilled.contract_id,
        unbilled.log_place,
        unbilled.payable_seconds,
        pool.place
    from unbilled
    inner join pool_months as pool
        on
            unbilled.contract_id = pool.contract_id
            and unbilled.worked_month = pool.worked_month
            and unbilled.worked_on between pool.period_start and pool.period_end
            and (pool.project_id is null or unbilled.project_id = pool.project_id)
            and (pool.person is null or unbilled.person = pool.person)
            and (pool.task is null or unbilled.task = pool.task)
            and (pool.role is null or unbilled.role = pool.role)
    union all by name
    select
        unbilled.row_id,
        unbilled.contract_id,
        unbilled.log_place,
        unbilled.payable_seconds,
        pool.place
    from unbilled
    inner join temp.pool
        on
            unbilled.contract_id = pool.contract_id
            and (pool.period_start is null or unbilled.worked_on >= pool.period_start)
            and (pool.period_end is null or unbilled.worked_on <= pool.period_end)
            and (pool.project_id is null or unbilled.project_id = pool.project_id)
            and (pool.person is null or unbilled.person = pool.person)
            and (pool.task is null or unbilled.task = pool.task)
            and (pool.role is null or unbilled.role = pool.role)
    where
        pool.place is not null
        and coalesce(pool.period_end - pool.period_start > 366, true)

),

chosen as (

    select
        row_id,
        any_value(contract_id) as contract_id,
        any_value(log_place) as log_place,
        any_value(payable_seconds) as payable_seconds,
        min(place) as place
    from matches
    group by row_id

),

counted as (

    select
        chosen.row_id,
        chosen.contract_id,
        chosen.place,
        chosen.payable_seconds,
        pool.amount_minor,
        pool.seconds,
        sum(chosen.payable_seconds) over (
            partition by chosen.contract_id, chosen.place
            order by chosen.log_place
        ) as seconds_to_here
    from chosen
    inner join temp.pool using (contract_id, place)

),

used as (

    select
        row_id,
        contract_id,
        place,
        amount_minor,
        seconds,
        least(seconds_to_here, seconds)::bigint as used_to_here,
        least(seconds_to_here - payable_seconds, seconds)::bigint as used_before,
        -- DuckDB divides numbers of up to 18 digits fifty times faster than longer ones.
        abs(amount_minor)::hugeint * seconds < 4000000000000000000 as is_short
    from counted

)

select
    row_id,
    contract_id,
    place,
    (used_to_here - used_before)::bigint as billed_seconds,
    sign(amount_minor) * case
        when is_short
            then
                (2 * abs(amount_minor) * used_to_here + seconds) // (2 * seconds)
                - (2 * abs(amount_minor) * used_before + seconds) // (2 * seconds)
        else
            (
                (2 * abs(amount_minor)::hugeint * used_to_here + seconds) // (2 * seconds)
                - (2 * abs(amount_minor)::hugeint * used_before + seconds) // (2 * seconds)
            )::bigint
    end as billed_minor
from used
""",
    "work.invoice_span": """\
-- One row per live invoice in its contract's currency whose lines speak of dates (invoice_id): the span of those dates.
-- Direct lines speak of the day of their eligible log, pooled ones of their period, where blank is endless.
-- Where a run looks at later weeks only, the spans are those the newest run stored: none of them can have changed.
with

days as (

    select
        line.contract_id,
        line.invoice_id,
        case when line.time_log_id is null then coalesce(line_row.period_start, '-infinity') else log_row.worked_on end
            as first_day,
        case when line.time_log_id is null then coalesce(line_row.period_end, 'infinity') else log_row.worked_on end
            as last_day
    from temp.line
    inner join temp.line_row using (row_id)
    left join temp.direct
        on line.contract_id = direct.contract_id and line.time_log_id = direct.time_log_id
    left join temp.log_row on direct.row_id = log_row.row_id
    where
        line.is_matched
        and coalesce(line_row.period_start <= line_row.period_end or line.time_log_id is not null, true)

)

select
    scope_contract.home_hash,
    days.contract_id,
    days.invoice_id,
    min(days.first_day) as first_day,
    max(days.last_day) as last_day
from days
inner join temp.scope_contract using (contract_id)
where scope_contract.from_day = '-infinity'
group by scope_contract.home_hash, days.contract_id, days.invoice_id
having min(days.first_day) is not null
union all by name
select
    invoice_span_open.home_hash,
    invoice_span_open.contract_id,
    invoice_span_open.invoice_id,
    invoice_span_open.first_day,
    invoice_span_open.last_day
from audit.invoice_span_open
inner join temp.scope_contract using (contract_id)
where
    source.is_in_scope(invoice_span_open.home_hash)
    and scope_contract.from_day > '-infinity'
""",
    "work.pooled_log": """\
-- One row per eligible time log in scope that a pool bills (row_id).
from billing.pooled_log
""",
    "billing.unmatched": """\
-- One row per sum billed for no eligible log (contract_id, about): direct lines by log id, and what a pool has left.
-- Where a run looks at a contract's later weeks only, the direct lines without an eligible log are those they were.
with

pooled as (

    select
        contract_id,
        place,
        sum(billed_minor) as billed_minor
    from temp.pooled_log
    group by contract_id, place

)

select
    direct.contract_id,
    'log:' || direct.time_log_id as about,
    direct.billed_minor as amount_minor,
    direct.billed_seconds as seconds,
    null::varchar as invoice_ids
from temp.direct
inner join temp.scope_contract using (contract_id)
where direct.row_id is null and direct.billed_minor != 0 and scope_contract.from_day = '-infinity'
union all by name
select
    pool.contract_id,
    pool.about,
    (pool.amount_minor - coalesce(pooled.billed_minor, 0))::bigint as amount_minor,
    pool.seconds,
    pool.invoice_ids
from temp.pool
left join pooled using (contract_id, place)
where pool.amount_minor != coalesce(pooled.billed_minor, 0)
""",
    "work.billed_log": """\
-- One row per eligible time log in scope (row_id): what is owed for it and what live invoices billed for it.
select
    priced_log.row_id,
    priced_log.contract_id,
    priced_log.payable_seconds,
    priced_log.expected_minor,
    priced_log.over_cap_minor,
    priced_log.over_cap_seconds,
    coalesce(direct.billed_minor, pooled_log.billed_minor, 0) as billed_minor,
    case
        when direct.row_id is not null and direct.has_all_seconds then direct.billed_seconds
        when direct.row_id is not null then priced_log.payable_seconds
        else coalesce(pooled_log.billed_seconds, 0)
    end as billed_seconds,
    coalesce(direct.line_count, 0) as direct_line_count,
    coalesce(direct.positive_invoice_count, 0) as positive_invoice_count,
    case contract.grace_from
        when 'month_end' then last_day(priced_log.worked_on)
        else priced_log.worked_on
    end + contract.grace_days as due_on
from temp.priced_log
inner join temp.contract on priced_log.contract_id = contract.contract_id
left join temp.direct on priced_log.row_id = direct.row_id
left join temp.pooled_log on priced_log.row_id = pooled_log.row_id
""",
    "work.unmatched": """\
-- One row per sum in scope billed for no eligible log (contract_id, about).
from billing.unmatched
""",
    "finding_rules.over_cap": """\
-- Worked beyond the contract's hours cap or money cap, and therefore not owed.
select
    'exposure' as side,
    billed_log.contract_id,
    'log:' || log_row.time_log_id as about,
    billed_log.row_id,
    billed_log.over_cap_seconds as seconds,
    billed_log.over_cap_minor as amount_minor,
    billed_log.expected_minor,
    billed_log.billed_minor
from temp.billed_log
inner join temp.log_row using (row_id)
where billed_log.over_cap_minor != 0
""",
    "work.gap": """\
-- One row per eligible time log in scope whose billing differs from what is owed (row_id), and in which way (gap):
-- rounding, not_due, nothing_billed, billed_short or billed_over. gap_minor is owed less billed.
select
    billed_log.*,
    log_row.time_log_id,
    log_row.project_id,
    log_row.person,
    log_row.role,
    log_row.task,
    log_row.worked_on,
    log_row.entered_on,
    expected_minor - billed_minor as gap_minor,
    case
        when abs(expected_minor - billed_minor) <= greatest(direct_line_count, 1) and billed_minor != 0 then 'rounding'
        when expected_minor < billed_minor then 'billed_over'
        when (select as_of from temp.cycle) < due_on then 'not_due'
        when billed_seconds = 0 and billed_minor = 0 then 'nothing_billed'
        else 'billed_short'
    end as gap
from temp.billed_log
inner join temp.log_row using (row_id)
where expected_minor != billed_minor
""",
    "finding_rules.invoiced_without_log": """\
-- Billed, and no eligible time log accounts for it.
select
    'overbilled' as side,
    contract_id,
    about,
    seconds,
    amount_minor,
    amount_minor as billed_minor,
    invoice_ids
from temp.unmatched
where amount_minor > 0
""",
    "finding_rules.unapplied_credit": """\
-- Credited, and no eligible time log accounts for it; shown as a positive amount.
select
    'exposure' as side,
    contract_id,
    about,
    seconds,
    -amount_minor as amount_minor,
    amount_minor as billed_minor,
    invoice_ids
from temp.unmatched
where amount_minor < 0
""",
    "billing.late_log": """\
-- One row per time log with nothing billed that was entered after a live invoice covering its day was issued (row_id).
select
    gap.row_id,
    array_to_string(list_sort(list(invoice.invoice_id)), ', ') as invoice_ids
from temp.gap
inner join temp.invoice
    on gap.contract_id = invoice.contract_id and gap.entered_on > invoice.issued_on
inner join temp.invoice_span
    on
        invoice.invoice_id = invoice_span.invoice_id
        and gap.worked_on between invoice_span.first_day and invoice_span.last_day
where gap.gap = 'nothing_billed'
group by gap.row_id
""",
    "billing.voided_log": """\
-- One row per time log with nothing billed that a void invoice of its contract had billed (row_id).
with

void_lines as (

    select
        line.contract_id,
        line_row.*
    from temp.line
    inner join temp.line_row using (row_id)
    inner join temp.invoice on line.invoice_id = invoice.invoice_id
    where
        invoice.status = 'void'
        and line.is_time
        and (line.time_log_id is not null or coalesce(line_row.period_start <= line_row.period_end, true))

),

matches as (

    select
        gap.row_id,
        void_lines.invoice_id
    from temp.gap
    inner join void_lines
        on gap.contract_id = void_lines.contract_id and gap.time_log_id = void_lines.time_log_id
    where gap.gap = 'nothing_billed'
    union
    select
        gap.row_id,
        void_lines.invoice_id
    from temp.gap
    inner join void_lines
        on
            gap.contract_id = void_lines.contract_id
            and (void_lines.period_start is null or gap.worked_on >= void_lines.period_start)
            and (void_lines.period_end is null or gap.worked_on <= void_lines.period_end)
            and (void_lines.project_id is null or gap.project_id = void_lines.project_id)
            and (void_lines.person is null or gap.person = void_lines.person)
            and (void_lines.task is null or gap.task = void_lines.task)
            and (void_lines.role is null or gap.role = void_lines.role)
    where
        gap.gap = 'nothing_billed'
        and void_lines.time_log_id is null

)

select
    row_id,
    array_to_string(list_sort(list(invoice_id)), ', ') as invoice_ids
from matches
group by row_id
""",
    "finding_rules.double_billed": """\
-- Billed by two invoices or more.
select
    'overbilled' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.billed_seconds as seconds,
    -gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
where gap.gap = 'billed_over' and gap.positive_invoice_count >= 2
""",
    "finding_rules.hours_over": """\
-- Billed for more hours than are owed.
select
    'overbilled' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.billed_seconds - gap.payable_seconds as seconds,
    -gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
where gap.gap = 'billed_over' and gap.positive_invoice_count < 2 and gap.billed_seconds > gap.payable_seconds
""",
    "finding_rules.not_due": """\
-- Owed and not fully billed, but the contract gives the invoice more time.
select
    'pending' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    gap.due_on
from temp.gap
where gap.gap = 'not_due'
""",
    "finding_rules.rate_over": """\
-- Billed at more than the contract says.
select
    'overbilled' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.billed_seconds as seconds,
    -gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
where gap.gap = 'billed_over' and gap.positive_invoice_count < 2 and gap.billed_seconds <= gap.payable_seconds
""",
    "finding_rules.rounding": """\
-- Owed and billed differ by no more than the rounding of the lines that billed it.
select
    'noise' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
where gap.gap = 'rounding'
""",
    "work.shortfall": """\
-- One row per time log in scope billed for less than is owed (row_id): how much of the gap is hours, the rest is rate.
select
    row_id,
    case
        when payable_seconds > 0 and billed_seconds < payable_seconds
            then
                least(
                    gap_minor,
                    (2 * expected_minor::hugeint * (payable_seconds - billed_seconds) + payable_seconds)
                    // (2 * payable_seconds)
                )::bigint
        else 0
    end as hours_minor,
    gap_minor - hours_minor as rate_minor
from temp.gap
where gap = 'billed_short'
""",
    "work.unbilled_log": """\
-- One row per time log in scope with nothing billed though due (row_id), and why: void_not_rebilled, late_entry or
-- unbilled.
select
    gap.row_id,
    case
        when voided_log.row_id is not null then 'void_not_rebilled'
        when late_log.row_id is not null then 'late_entry'
        else 'unbilled'
    end as cause,
    coalesce(voided_log.invoice_ids, late_log.invoice_ids) as invoice_ids
from temp.gap
left join billing.voided_log on gap.row_id = voided_log.row_id
left join billing.late_log on gap.row_id = late_log.row_id
where gap.gap = 'nothing_billed'
""",
    "finding_rules.hours_short": """\
-- Billed for fewer hours than are owed.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds - gap.billed_seconds as seconds,
    shortfall.hours_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
inner join temp.shortfall using (row_id)
where shortfall.hours_minor != 0
""",
    "finding_rules.rate_under": """\
-- Billed at less than the contract says, once missing hours are counted apart.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.billed_seconds as seconds,
    shortfall.rate_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
inner join temp.shortfall using (row_id)
where shortfall.rate_minor != 0
""",
    "finding_rules.late_entry": """\
-- Owed, and entered after the invoice for its days went out.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    unbilled_log.invoice_ids,
    null::date as due_on
from temp.gap
inner join temp.unbilled_log using (row_id)
where unbilled_log.cause = 'late_entry'
""",
    "finding_rules.unbilled": """\
-- Owed, and never billed.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    unbilled_log.invoice_ids,
    null::date as due_on
from temp.gap
inner join temp.unbilled_log using (row_id)
where unbilled_log.cause = 'unbilled'
""",
    "finding_rules.void_not_rebilled": """\
-- Owed, and billed only by an invoice that was voided.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    unbilled_log.invoice_ids,
    null::date as due_on
from temp.gap
inner join temp.unbilled_log using (row_id)
where unbilled_log.cause = 'void_not_rebilled'
""",
    "finding_rules.all_rules": """\
-- Every row of every rule in this folder.
select 'currency_mismatch' as rule_name, * from finding_rules.currency_mismatch
union all by name
select 'double_billed' as rule_name, * from finding_rules.double_billed
union all by name
select 'fixed_price_overrun' as rule_name, * from finding_rules.fixed_price_overrun
union all by name
select 'hours_over' as rule_name, * from finding_rules.hours_over
union all by name
select 'hours_short' as rule_name, * from finding_rules.hours_short
union all by name
select 'invoiced_without_log' as rule_name, * from finding_rules.invoiced_without_log
union all by name
select 'late_entry' as rule_name, * from finding_rules.late_entry
union all by name
select 'non_billable_time' as rule_name, * from finding_rules.non_billable_time
union all by name
select 'not_due' as rule_name, * from finding_rules.not_due
union all by name
select 'out_of_term' as rule_name, * from finding_rules.out_of_term
union all by name
select 'over_cap' as rule_name, * from finding_rules.over_cap
union all by name
select 'rate_over' as rule_name, * from finding_rules.rate_over
union all by name
select 'rate_under' as rule_name, * from finding_rules.rate_under
union all by name
select 'rounding' as rule_name, * from finding_rules.rounding
union all by name
select 'unapplied_credit' as rule_name, * from finding_rules.unapplied_credit
union all by name
select 'unapproved' as rule_name, * from finding_rules.unapproved
union all by name
select 'unbilled' as rule_name, * from finding_rules.unbilled
union all by name
select 'void_not_rebilled' as rule_name, * from finding_rules.void_not_rebilled
""",
    "work.finding": """\
-- One row per finding in scope (finding_id), as audit.finding_open stores it. Amounts in the finding's currency.
-- A leakage finding a person accepted stays written off while its amount is not above the accepted one.
with

-- A finding is identified by contract, class and what it is about.
found as (

    select
        *,
        left(md5(contract_id || chr(31) || rule_name || chr(31) || about), 16) as finding_id
    from finding_rules.all_rules

),

accepted as (

    select
        finding_id,
        arg_max(coalesce(accepted_amount, -1), write_off_id) as accepted_amount
    from audit.write_off
    group by finding_id

),

-- Which invoices billed a log: those its direct lines stand on, or those of its pool.
direct_invoices as (

    select
        line.contract_id,
        line.time_log_id,
        array_to_string(list_sort(list_distinct(list(line.invoice_id))), ', ') as invoice_ids
    from temp.line
    where
        line.is_matched
        and (line.contract_id, 'log:' || line.time_log_id) in (select (contract_id, about) from found)
    group by line.contract_id, line.time_log_id

),

amounts as (

    select
        found.*,
        contract.client,
        coalesce(found.foreign_currency, contract.currency) as currency,
        coalesce(found.foreign_amount, (found.amount_minor * contract.minor_unit)::decimal(18, 4)) as amount,
        (found.expected_minor * contract.minor_unit)::decimal(18, 4) as expected_amount,
        coalesce(found.foreign_amount, (found.billed_minor * contract.minor_unit)::decimal(18, 4)) as billed_amount
    from found
    inner join temp.contract using (contract_id)

)

select
    amounts.finding_id,
    scope_contract.home_hash,
    amounts.contract_id,
    amounts.client,
    amounts.currency,
    case
        when amounts.side = 'leakage' and amounts.amount <= accepted.accepted_amount then 'written_off'
        else amounts.side
    end as side,
    amounts.rule_name as class,
    amounts.about,
    log_row.project_id,
    log_row.person,
    log_row.role,
    log_row.task,
    log_row.worked_on,
    amounts.seconds,
    (log.hourly_rate_scaled * 0.0001)::decimal(18, 4) as hourly_rate,
    amounts.expected_amount,
    amounts.billed_amount,
    amounts.amount,
    coalesce(
        amounts.invoice_ids,
        -- What is estimated, for a log that is not eligible, no invoice billed.
        case when amounts.expected_amount is not null then coalesce(direct_invoices.invoice_ids, pool.invoice_ids) end
    ) as invoice_ids,
    amounts.due_on
from amounts
inner join temp.scope_contract on amounts.contract_id = scope_contract.contract_id
left join temp.log using (row_id)
left join temp.log_row on amounts.row_id = log_row.row_id
left join direct_invoices
    on amounts.contract_id = direct_invoices.contract_id and amounts.about = 'log:' || direct_invoices.time_log_id
left join temp.pooled_log on amounts.row_id = pooled_log.row_id and pooled_log.billed_seconds > 0
left join temp.pool on pooled_log.contract_id = pool.contract_id and pooled_log.place = pool.place
left join accepted on amounts.finding_id = accepted.finding_id
""",
    "work.balance": """\
-- One row per contract in scope and week from its from_day on (contract_id, week): what its time logs of that week add
-- up to. A week starts on the 1st, 8th, 15th, 22nd or 29th and lies in one month; it is NULL for logs without a date.
-- A run that looks at later weeks only starts from these.
with

priced as (

    select
        priced_log.contract_id,
        priced_log.worked_on,
        sum(priced_log.rounded_seconds) as rounded_seconds,
        sum(priced_log.payable_seconds + priced_log.over_cap_seconds) as unpaid_seconds,
        sum(priced_log.amount_minor) as amount_minor,
        sum(billed_log.expected_minor) as expected_minor,
        sum(billed_log.billed_minor) as billed_minor
    from temp.priced_log
    inner join temp.billed_log using (row_id)
    group by priced_log.contract_id, priced_log.worked_on

),

parts as (

    from priced
    union all by name
    select
        contract_id,
        worked_on,
        sum(seconds) as fixed_seconds
    from temp.log
    where excluded_as = 'fixed_price'
    group by contract_id, worked_on
    union all by name
    select
        contract_id,
        worked_on,
        sum(payable_seconds - billed_seconds) as unbilled_seconds
    from temp.gap
    where
        billed_seconds < payable_seconds
        and (contract_id, 'log:' || time_log_id) in (
            select (contract_id, about)
            from temp.finding
            where side = 'leakage'
        )
    group by contract_id, worked_on
    union all by name
    -- A row somebody waived is at risk no longer.
    select
        contract_id,
        worked_on,
        sum(seconds) as quarantined_seconds
    from temp.quarantined
    where entity = 'time_logs' and state = 'open' and seconds > 0 and contract_id is not null
    group by contract_id, worked_on

)

select
    scope_contract.home_hash,
    parts.contract_id,
    parts.worked_on - ((parts.worked_on - date_trunc('month', parts.worked_on)::date) % 7)::integer as week,
    coalesce(sum(parts.rounded_seconds), 0)::bigint as rounded_seconds,
    coalesce(sum(parts.unpaid_seconds), 0)::bigint as unpaid_seconds,
    coalesce(sum(parts.amount_minor), 0)::bigint as amount_minor,
    coalesce(sum(parts.fixed_seconds), 0)::bigint as fixed_seconds,
    coalesce(sum(parts.expected_minor), 0)::bigint as expected_minor,
    coalesce(sum(parts.billed_minor), 0)::bigint as billed_minor,
    coalesce(sum(parts.unbilled_seconds), 0)::bigint as unbilled_seconds,
    coalesce(sum(parts.quarantined_seconds), 0)::bigint as quarantined_seconds
from parts
inner join temp.scope_contract using (contract_id)
group by scope_contract.home_hash, parts.contract_id, week
""",
    "work.finding_change": """\
-- One row per finding in scope that differs from what is open (finding_id): change is opened, changed or closed.
with

open_in_scope as (

    select
        finding_id,
        home_hash,
        contract_id,
        client,
        currency,
        side,
        class,
        about,
        project_id,
        person,
        role,
        task,
        worked_on,
        seconds,
        hourly_rate,
        expected_amount,
        billed_amount,
        amount,
        invoice_ids,
        due_on,
        opened_run_id
    from reconcile.stored_finding
    where
        is_looked_at
        -- Those that are looked at whatever their day have none. Read before all other cells it rules most rows out; of
        -- a few contracts most are ruled out already.
        and source.is_from_first_day(worked_on, source.is_of_few_contracts())

),

fresh as (

    select finding.*
    from temp.finding
    anti join open_in_scope
        on
            finding.finding_id = open_in_scope.finding_id
            and finding.home_hash = open_in_scope.home_hash
            and finding.contract_id = open_in_scope.contract_id
            and finding.client is not distinct from open_in_scope.client
            and finding.currency is not distinct from open_in_scope.currency
            and finding.side = open_in_scope.side
            and finding.class = open_in_scope.class
            and finding.about = open_in_scope.about
            and finding.project_id is not distinct from open_in_scope.project_id
            and finding.person is not distinct from open_in_scope.person
            and finding.role is not distinct from open_in_scope.role
            and finding.task is not distinct from open_in_scope.task
            and finding.worked_on is not distinct from open_in_scope.worked_on
            and finding.seconds is not distinct from open_in_scope.seconds
            and finding.hourly_rate is not distinct from open_in_scope.hourly_rate
            and finding.expected_amount is not distinct from open_in_scope.expected_amount
            and finding.billed_amount is not distinct from open_in_scope.billed_amount
            and finding.amount is not distinct from open_in_scope.amount
            and finding.invoice_ids is not distinct from open_in_scope.invoice_ids
            and finding.due_on is not distinct from open_in_scope.due_on

)

select
    fresh.*,
    open_in_scope.opened_run_id,
    case when open_in_scope.finding_id is null then 'opened' else 'changed' end as change
from fresh
left join open_in_scope on fresh.finding_id = open_in_scope.finding_id
union all by name
select
    open_in_scope.* replace (0 as amount),
    'closed' as change
from open_in_scope
anti join temp.finding on open_in_scope.finding_id = finding.finding_id
""",
    "work.position": """\
-- One row per contract in scope (contract_id), as audit.position_open stores it. Amounts in the contract's currency.
with

-- What the weeks in scope add to what those before left.
balance as (

    select
        opening.home_hash,
        opening.contract_id,
        opening.expected_minor + coalesce(sum(balance.expected_minor), 0)::hugeint as expected_minor,
        opening.billed_minor + coalesce(sum(balance.billed_minor), 0)::hugeint as billed_minor,
        opening.unbilled_seconds + coalesce(sum(balance.unbilled_seconds), 0)::hugeint as unbilled_seconds,
        opening.quarantined_seconds + coalesce(sum(balance.quarantined_seconds), 0)::hugeint as quarantined_seconds
    from temp.opening
    left join temp.balance using (contract_id)
    group by
        opening.home_hash,
        opening.contract_id,
        opening.expected_minor,
        opening.billed_minor,
        opening.unbilled_seconds,
        opening.quarantined_seconds

),

findings as (

    select
        contract_id,
        currency,
        side,
        amount,
        worked_on
    from temp.finding
    union all by name
    select
        contract_id,
        currency,
        side,
        amount,
        worked_on
    from temp.kept_finding

),

sides as (

    select
        findings.contract_id,
        sum(findings.amount) filter (where findings.side = 'leakage') as leakage_amount,
        sum(findings.amount) filter (where findings.side = 'written_off') as written_off_amount,
        sum(findings.amount) filter (where findings.side = 'overbilled') as overbilled_amount,
        sum(findings.amount) filter (where findings.side = 'exposure') as exposure_amount,
        sum(findings.amount) filter (where findings.side = 'pending') as pending_amount,
        sum(findings.amount) filter (where findings.side = 'noise') as noise_amount,
        min(findings.worked_on) filter (where findings.side = 'leakage') as oldest_leakage_on
    from findings
    inner join temp.contract using (contract_id)
    where findings.currency is not distinct from contract.currency
    group by findings.contract_id

),

other_billed as (

    select
        contract_id,
        sum(net_amount) as amount
    from temp.line
    where
        is_live
        and is_in_currency
        and not is_matched
    group by contract_id

),

-- A row somebody waived is at risk no longer. A line whose invoice is itself set aside is nobody's here: its invoice is
-- counted.
at_risk as (

    select
        contract_id,
        count(*) as line_count
    from temp.quarantined
    where state = 'open' and entity in ('invoices', 'invoice_lines')
    group by contract_id

),

amounts as (

    select
        balance.home_hash,
        contract.contract_id,
        contract.client,
        contract.currency,
        contract.billing_model,
        (balance.expected_minor * contract.minor_unit)::decimal(18, 4) as expected_amount,
        (balance.billed_minor * contract.minor_unit)::decimal(18, 4) as billed_amount,
        coalesce(sides.leakage_amount, 0)::decimal(18, 4) as leakage_amount,
        coalesce(sides.written_off_amount, 0)::decimal(18, 4) as written_off_amount,
        coalesce(sides.overbilled_amount, 0)::decimal(18, 4) as overbilled_amount,
        coalesce(sides.exposure_amount, 0)::decimal(18, 4) as exposure_amount,
        coalesce(sides.pending_amount, 0)::decimal(18, 4) as pending_amount,
        coalesce(sides.noise_amount, 0)::decimal(18, 4) as noise_amount,
        coalesce(other_billed.amount, 0)::decimal(18, 4) as other_billed_amount,
        ((balance.unbilled_seconds * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as unbilled_hours,
        ((balance.quarantined_seconds * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as quarantined_hours,
        coalesce(at_risk.line_count, 0) as quarantined_line_count,
        contract.threshold_amount,
        contract.is_valid,
        sides.oldest_leakage_on
    from temp.contract
    inner join balance using (contract_id)
    left join sides using (contract_id)
    left join other_billed using (contract_id)
    left join at_risk using (contract_id)

)

select
    * exclude (is_valid, oldest_leakage_on),
    is_valid and leakage_amount > threshold_amount as is_flagged,
    case
        when is_valid and leakage_amount > threshold_amount then 'critical'
        when leakage_amount > 0 and leakage_amount::decimal(22, 4) * 2 >= threshold_amount then 'watch'
        else 'ok'
    end as severity,
    oldest_leakage_on
from amounts
""",
    "reconcile.broken_total": """\
-- One row per control total that does not hold in scope (what, id); a run that finds any is rolled back.
select
    'time logs of project' as what,
    concat_ws(' ', project_id, week) as id,
    concat(
        logs_received, ' received, ', logs_quarantined, ' quarantined + ', logs_excluded, ' excluded + ',
        logs_out_of_term, ' out of term + ', logs_eligible, ' eligible; ',
        seconds_received, ' s received, ', seconds_counted, ' s counted'
    ) as detail
from temp.log_count
where
    logs_received != logs_quarantined + logs_excluded + logs_out_of_term + logs_eligible
    or seconds_received != seconds_counted
union all by name
select
    'amounts of contract' as what,
    position.contract_id as id,
    concat(
        'expected ', position.expected_amount, ' - billed ', position.billed_amount, ' is not leakage ',
        position.leakage_amount, ' + written off ', position.written_off_amount, ' + pending ',
        position.pending_amount, ' + noise ', position.noise_amount, ' - overbilled logs ',
        coalesce(log_overbilled.amount, 0)
    ) as detail
from temp.position
left join (
    select
        contract_id,
        sum(amount) as amount
    from (
        select
            contract_id,
            amount
        from temp.finding
        where side = 'overbilled' and expected_amount is not null
        union all by name
        select
            contract_id,
            amount
        from temp.kept_finding
        where side = 'overbilled' and has_expected
    ) as findings
    group by contract_id
) as log_overbilled using (contract_id)
where
    position.expected_amount - position.billed_amount
    != position.leakage_amount + position.written_off_amount + position.pending_amount + position.noise_amount
    - coalesce(log_overbilled.amount, 0)
""",
    "work.position_change": """\
-- One row per contract in scope whose position differs from what is open (contract_id): change is written or closed.
with

open_in_scope as (

    select
        home_hash,
        contract_id,
        client,
        currency,
        billing_model,
        expected_amount,
        billed_amount,
        leakage_amount,
        written_off_amount,
        overbilled_amount,
        exposure_amount,
        pending_amount,
        noise_amount,
        other_billed_amount,
        unbilled_hours,
        quarantined_hours,
        quarantined_line_count,
        threshold_amount,
        is_flagged,
        severity,
        oldest_leakage_on
    from audit.position_open
    where
        source.is_in_scope(home_hash)
        and contract_id in (select contract_id from temp.scope_contract)

),

fresh as (

    select position.*
    from temp.position
    anti join open_in_scope
        on
            position.home_hash = open_in_scope.home_hash
            and position.contract_id = open_in_scope.contract_id
            and position.client is not distinct from open_in_scope.client
            and position.currency is not distinct from open_in_scope.currency
            and position.billing_model = open_in_scope.billing_model
            and position.expected_amount is not distinct from open_in_scope.expected_amount
            and position.billed_amount is not distinct from open_in_scope.billed_amount
            and position.leakage_amount = open_in_scope.leakage_amount
            and position.written_off_amount = open_in_scope.written_off_amount
            and position.overbilled_amount = open_in_scope.overbilled_amount
            and position.exposure_amount = open_in_scope.exposure_amount
            and position.pending_amount = open_in_scope.pending_amount
            and position.noise_amount = open_in_scope.noise_amount
            and position.other_billed_amount = open_in_scope.other_billed_amount
            and position.unbilled_hours is not distinct from open_in_scope.unbilled_hours
            and position.quarantined_hours is not distinct from open_in_scope.quarantined_hours
            and position.quarantined_line_count = open_in_scope.quarantined_line_count
            and position.threshold_amount is not distinct from open_in_scope.threshold_amount
            and position.is_flagged is not distinct from open_in_scope.is_flagged
            and position.severity = open_in_scope.severity
            and position.oldest_leakage_on is not distinct from open_in_scope.oldest_leakage_on

)

select
    fresh.*,
    'written' as change
from fresh
union all by name
select
    open_in_scope.*,
    'closed' as change
from open_in_scope
anti join temp.position on open_in_scope.contract_id = position.contract_id
""",
}


def upgrade() -> None:
    connection = op.get_bind()
    schemas = (f"create schema {schema}" for schema in SCHEMAS)
    connection.exec_driver_sql("\n;\n".join((*schemas, *TABLES, *COMMENTS, *MACROS)))
    op.replace_views(VIEWS)


def downgrade() -> None:
    connection = op.get_bind()
    op.replace_views(dict.fromkeys(VIEWS))
    for schema in reversed(SCHEMAS):
        connection.exec_driver_sql(f"drop schema {schema} cascade")
