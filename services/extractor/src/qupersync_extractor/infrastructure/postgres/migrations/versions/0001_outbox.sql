-- One row per pipeline: what its pages have committed, its lease, its troubles and requests.
-- Rewritten by every page, never in an indexed column: room in the page keeps these updates off the index.
CREATE TABLE qupersync.extraction (
    pipeline text NOT NULL CONSTRAINT extraction_pkey PRIMARY KEY,
    lanes integer NOT NULL CONSTRAINT extraction_lanes_check CHECK (lanes >= 1),
    log bigint NOT NULL CONSTRAINT extraction_log_check CHECK (log >= 1),
    sequence bigint NOT NULL CONSTRAINT extraction_sequence_check CHECK (sequence >= 0),
    lane_ids jsonb NOT NULL CONSTRAINT extraction_lane_ids_check CHECK (jsonb_typeof(lane_ids) = 'object'),
    cursor_position text,
    swept_high text,
    swept_began_at timestamptz,
    snapshot_id uuid,
    snapshot_began_at timestamptz,
    snapshot_after text,
    snapshot_first boolean,
    wish_reason text,
    wish_restart boolean,
    snapshot_ended_at timestamptz,
    completed_at timestamptz,
    schema_fingerprint text,
    last_event_at timestamptz,
    owner text,
    token bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    trouble text,
    trouble_since timestamptz,
    run_requested boolean NOT NULL DEFAULT false,
    run_mode text CONSTRAINT extraction_run_mode_check CHECK (run_mode IN ('incremental', 'snapshot')),
    forked_log bigint,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT extraction_swept_check CHECK ((swept_high IS NULL) = (swept_began_at IS NULL)),
    CONSTRAINT extraction_snapshot_check CHECK (
        (snapshot_id IS NULL) = (snapshot_began_at IS NULL)
        AND (snapshot_id IS NULL) = (snapshot_first IS NULL)
        AND (snapshot_id IS NOT NULL OR snapshot_after IS NULL)
    ),
    CONSTRAINT extraction_wish_check CHECK ((wish_reason IS NULL) = (wish_restart IS NULL)),
    CONSTRAINT extraction_lease_check CHECK ((owner IS NULL) = (lease_until IS NULL)),
    CONSTRAINT extraction_trouble_check CHECK ((trouble IS NULL) = (trouble_since IS NULL))
) WITH (fillfactor = 50);

-- Batch events on their way to the relay. Never updated; whole partitions are dropped.
-- occurred_at is this server's clock: partitions must not depend on the clocks of processes.
CREATE TABLE qupersync.outbox (
    id uuid NOT NULL,
    pipeline text NOT NULL,
    lane integer NOT NULL CONSTRAINT outbox_lane_check CHECK (lane >= 0),
    log bigint NOT NULL CONSTRAINT outbox_log_check CHECK (log >= 1),
    sequence bigint NOT NULL CONSTRAINT outbox_sequence_check CHECK (sequence >= 1),
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event_type text NOT NULL,
    event_version integer NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid,
    traceparent text,
    headers jsonb NOT NULL CONSTRAINT outbox_headers_check CHECK (jsonb_typeof(headers) = 'object'),
    payload bytea NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (pipeline, lane, log, sequence, occurred_at)
) PARTITION BY RANGE (occurred_at);

-- The payload is compressed already: trying again costs four times the insert.
ALTER TABLE qupersync.outbox ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE INDEX outbox_id_idx ON qupersync.outbox (id);

-- How far each lane has been published, and by whom it may be.
CREATE TABLE qupersync.relay_cursor (
    pipeline text NOT NULL,
    lane integer NOT NULL CONSTRAINT relay_cursor_lane_check CHECK (lane >= 0),
    log bigint NOT NULL CONSTRAINT relay_cursor_log_check CHECK (log >= 1),
    last_sequence bigint NOT NULL CONSTRAINT relay_cursor_last_sequence_check CHECK (last_sequence >= 0),
    last_stream_sequence bigint NOT NULL
        CONSTRAINT relay_cursor_last_stream_sequence_check CHECK (last_stream_sequence >= 0),
    generation bigint NOT NULL CONSTRAINT relay_cursor_generation_check CHECK (generation >= 0),
    owner text,
    lease_until timestamptz,
    CONSTRAINT relay_cursor_pkey PRIMARY KEY (pipeline, lane),
    CONSTRAINT relay_cursor_lease_check CHECK ((owner IS NULL) = (lease_until IS NULL))
) WITH (fillfactor = 50);

-- Rows that no event can carry, once per key. The digest stands for keys too long for an index.
CREATE TABLE qupersync.source_quarantine (
    pipeline text NOT NULL,
    key_digest bytea NOT NULL CONSTRAINT source_quarantine_key_digest_check CHECK (octet_length(key_digest) = 32),
    key text NOT NULL,
    reason text NOT NULL,
    event_id uuid NOT NULL,
    times bigint NOT NULL DEFAULT 1 CONSTRAINT source_quarantine_times_check CHECK (times >= 1),
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT source_quarantine_pkey PRIMARY KEY (pipeline, key_digest)
);

CREATE TABLE qupersync.run (
    id uuid NOT NULL CONSTRAINT run_pkey PRIMARY KEY,
    pipeline text NOT NULL,
    mode text NOT NULL,
    cause text NOT NULL,
    pages bigint NOT NULL DEFAULT 0 CONSTRAINT run_pages_check CHECK (pages >= 0),
    rows bigint NOT NULL DEFAULT 0 CONSTRAINT run_rows_check CHECK (rows >= 0),
    bytes bigint NOT NULL DEFAULT 0 CONSTRAINT run_bytes_check CHECK (bytes >= 0),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    error text,
    trace_id text,
    CONSTRAINT run_error_check CHECK (error IS NULL OR ended_at IS NOT NULL)
);

CREATE INDEX run_started_at_idx ON qupersync.run (started_at DESC, id DESC);
CREATE INDEX run_pipeline_idx ON qupersync.run (pipeline, started_at DESC, id DESC);
