-- Comparisons of source and target. Rows and bytes count what was looked at, and what was moved for it.
CREATE TABLE qupersync.verification (
    id uuid NOT NULL CONSTRAINT verification_pkey PRIMARY KEY,
    pipeline text NOT NULL,
    loader_group text NOT NULL,
    cause text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    source_rows bigint NOT NULL DEFAULT 0 CONSTRAINT verification_source_rows_check CHECK (source_rows >= 0),
    target_rows bigint NOT NULL DEFAULT 0 CONSTRAINT verification_target_rows_check CHECK (target_rows >= 0),
    ranges bigint NOT NULL DEFAULT 0 CONSTRAINT verification_ranges_check CHECK (ranges >= 0),
    bytes_moved bigint NOT NULL DEFAULT 0 CONSTRAINT verification_bytes_moved_check CHECK (bytes_moved >= 0),
    differing bigint NOT NULL DEFAULT 0 CONSTRAINT verification_differing_check CHECK (differing >= 0),
    in_motion bigint NOT NULL DEFAULT 0 CONSTRAINT verification_in_motion_check CHECK (in_motion >= 0),
    repaired bigint NOT NULL DEFAULT 0 CONSTRAINT verification_repaired_check CHECK (repaired >= 0),
    keys text[] NOT NULL DEFAULT '{}',
    error text,
    CONSTRAINT verification_error_check CHECK (error IS NULL OR ended_at IS NOT NULL)
);

CREATE INDEX verification_pipeline_idx ON qupersync.verification (pipeline, started_at DESC, id DESC);
