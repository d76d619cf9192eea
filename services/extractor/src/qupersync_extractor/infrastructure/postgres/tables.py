"""The tables as SQLAlchemy Core sees them; a test compares them with what the migrations make."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TIMESTAMP, UUID

SCHEMA: Final = "qupersync"

metadata: Final = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

_moment = TIMESTAMP(timezone=True)
_now = sa.text("clock_timestamp()")

extraction: Final = sa.Table(
    "extraction",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("log", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("lane_ids", JSONB, nullable=False),
    sa.Column("cursor_position", sa.Text),
    sa.Column("swept_high", sa.Text),
    sa.Column("swept_began_at", _moment),
    sa.Column("snapshot_id", UUID),
    sa.Column("snapshot_began_at", _moment),
    sa.Column("snapshot_after", sa.Text),
    sa.Column("snapshot_first", sa.Boolean),
    sa.Column("wish_reason", sa.Text),
    sa.Column("wish_restart", sa.Boolean),
    sa.Column("snapshot_ended_at", _moment),
    sa.Column("completed_at", _moment),
    sa.Column("schema_fingerprint", sa.Text),
    sa.Column("last_event_at", _moment),
    sa.Column("owner", sa.Text),
    sa.Column("token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("lease_until", _moment),
    sa.Column("trouble", sa.Text),
    sa.Column("trouble_since", _moment),
    sa.Column("run_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("run_mode", sa.Text),
    sa.Column("run_ticket", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("forked_log", sa.BigInteger),
    sa.Column("updated_at", _moment, nullable=False, server_default=_now),
)

outbox: Final = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", UUID, nullable=False, index=True),
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("lane", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("log", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("occurred_at", _moment, primary_key=True, server_default=_now),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("event_version", sa.Integer, nullable=False),
    sa.Column("correlation_id", UUID, nullable=False),
    sa.Column("causation_id", UUID),
    sa.Column("traceparent", sa.Text),
    sa.Column("headers", JSONB, nullable=False),
    sa.Column("payload", BYTEA, nullable=False),
    postgresql_partition_by="RANGE (occurred_at)",
)

relay_cursor: Final = sa.Table(
    "relay_cursor",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("lane", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("log", sa.BigInteger, nullable=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("last_stream_sequence", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", _moment),
)

source_quarantine: Final = sa.Table(
    "source_quarantine",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("key_digest", BYTEA, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("event_id", UUID, nullable=False),
    sa.Column("times", sa.BigInteger, nullable=False, server_default=sa.text("1")),
    sa.Column("first_seen_at", _moment, nullable=False, server_default=_now),
    sa.Column("last_seen_at", _moment, nullable=False, server_default=_now),
    sa.Column("resolved_at", _moment),
    sa.Column("resolution", sa.Text),
)
sa.Index(
    "source_quarantine_unresolved_idx",
    source_quarantine.c.pipeline,
    source_quarantine.c.last_seen_at,
    postgresql_where=source_quarantine.c.resolved_at.is_(None),
)

reread_request: Final = sa.Table(
    "reread_request",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("asker", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("wanted", sa.Text, nullable=False),
    sa.Column("keys", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("span_after", sa.Text),
    sa.Column("span_upto", sa.Text),
    sa.Column("redrives", ARRAY(UUID), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("keys_done", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("reached", sa.Text),
    sa.Column("refused", sa.Text),
    sa.Column("keys_refused", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("requested_at", _moment, nullable=False, server_default=_now),
    sa.Column("done_at", _moment),
)
sa.Index(
    "reread_request_done_at_idx",
    reread_request.c.done_at,
    postgresql_where=reread_request.c.done_at.is_not(None),
)
sa.Index(
    "reread_request_waiting_idx",
    reread_request.c.pipeline,
    reread_request.c.requested_at,
    reread_request.c.id,
    postgresql_where=reread_request.c.done_at.is_(None),
)
sa.Index(
    "reread_request_refused_idx",
    reread_request.c.pipeline,
    postgresql_where=reread_request.c.refused.is_not(None),
)

run: Final = sa.Table(
    "run",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("pages", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("started_at", _moment, nullable=False, server_default=_now),
    sa.Column("ended_at", _moment),
    sa.Column("error", sa.Text),
    sa.Column("trace_id", sa.Text),
    sa.Column("log", sa.BigInteger),
    sa.Column("first_sequence", sa.BigInteger),
    sa.Column("last_sequence", sa.BigInteger),
    sa.Column("attempts", sa.BigInteger, nullable=False, server_default=sa.text("1")),
)
sa.Index("run_started_at_idx", run.c.started_at.desc(), run.c.id.desc())
sa.Index("run_pipeline_idx", run.c.pipeline, run.c.started_at.desc(), run.c.id.desc())
sa.Index("run_failed_idx", run.c.started_at.desc(), run.c.id.desc(), postgresql_where=run.c.error.is_not(None))
sa.Index("run_running_idx", run.c.pipeline, postgresql_where=run.c.ended_at.is_(None))

pipeline_control: Final = sa.Table(
    "pipeline_control",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reason", sa.Text),
    sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
    sa.Column("created_at", _moment, nullable=False, server_default=_now),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("updated_at", _moment, nullable=False, server_default=_now),
    sa.Column("updated_by", sa.Text, nullable=False),
    sa.Column("deleted_at", _moment),
    sa.Column("deleted_by", sa.Text),
)

remembered: Final = sa.Table(
    "remembered",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("key", sa.Text(collation="C"), primary_key=True),
    sa.Column("facts", JSONB, nullable=False),
    sa.Column("used_at", _moment, nullable=False, server_default=_now),
)

verification: Final = sa.Table(
    "verification",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("loader_group", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("started_at", _moment, nullable=False, server_default=_now),
    sa.Column("ended_at", _moment),
    sa.Column("source_rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("target_rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("ranges", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("bytes_moved", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("differing", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("in_motion", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("repaired", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("keys", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("error", sa.Text),
)
sa.Index(
    "verification_pipeline_idx", verification.c.pipeline, verification.c.started_at.desc(), verification.c.id.desc()
)

ledger_page: Final = sa.Table(
    "ledger_page",
    metadata,
    sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("log", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_id", UUID),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("extracted_at", _moment, nullable=False, server_default=_now),
)
sa.Index("ledger_page_extracted_at_idx", ledger_page.c.extracted_at, ledger_page.c.number)
sa.Index("ledger_page_pipeline_idx", ledger_page.c.pipeline, ledger_page.c.extracted_at, ledger_page.c.number)
sa.Index("ledger_page_mode_idx", ledger_page.c.mode, ledger_page.c.extracted_at, ledger_page.c.number)
sa.Index(
    "ledger_page_run_idx",
    ledger_page.c.run_id,
    ledger_page.c.extracted_at,
    ledger_page.c.number,
    postgresql_where=ledger_page.c.run_id.is_not(None),
)

ledger_mark: Final = sa.Table(
    "ledger_mark",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("log", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hop", sa.Text, primary_key=True),
    sa.Column("loader_group", sa.Text, primary_key=True, server_default=""),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reached_at", _moment, nullable=False, server_default=_now, index=True),
)

ledger_reach: Final = sa.Table(
    "ledger_reach",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("loader_group", sa.Text, primary_key=True),
    sa.Column("log", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("reached_at", _moment, nullable=False),
)

action: Final = sa.Table(
    "action",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("pipeline", sa.Text),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", _moment, nullable=False, server_default=_now),
    sa.Column("reason", sa.Text),
    sa.Column("details", JSONB, nullable=False, server_default=sa.text("'{}'")),
)
sa.Index("action_at_idx", action.c["at"].desc(), action.c.id.desc())
sa.Index("action_pipeline_idx", action.c.pipeline, action.c["at"].desc(), action.c.id.desc())

idempotency: Final = sa.Table(
    "idempotency",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, primary_key=True),
    sa.Column("request_digest", BYTEA, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("answer", JSONB),
    sa.Column("made_at", _moment, nullable=False, server_default=_now, index=True),
)

source_use: Final = sa.Table(
    "source_use",
    metadata,
    sa.Column("minute", _moment, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("carried_rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("carried_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
)

source_read: Final = sa.Table(
    "source_read",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("asked_at", _moment, nullable=False, server_default=_now),
    sa.Column("began_at", _moment),
    sa.Column("expires_at", _moment, nullable=False),
    sa.Column("expected_rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("expected_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
)
sa.Index("source_read_asked_at_idx", source_read.c.asked_at, source_read.c.id)

last_run: Final = sa.Table(
    "last_run",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("covers", _moment, nullable=False),
    sa.Column("ended_at", _moment, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
)
