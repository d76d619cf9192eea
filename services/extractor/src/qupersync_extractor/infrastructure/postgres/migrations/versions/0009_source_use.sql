-- What was taken from the source, minute by minute, by all extractors of this outbox, and what earlier minutes took too much.
CREATE TABLE qupersync.source_use (
    minute timestamptz NOT NULL CONSTRAINT source_use_pkey PRIMARY KEY,
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    carried_rows bigint NOT NULL DEFAULT 0,
    carried_bytes bigint NOT NULL DEFAULT 0
);

-- Reads that are under way, or wait for their turn, and what they may take. A process that died leaves its row until
-- `expires_at`.
CREATE TABLE qupersync.source_read (
    id uuid NOT NULL CONSTRAINT source_read_pkey PRIMARY KEY,
    pipeline text NOT NULL,
    owner text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    began_at timestamptz,
    expires_at timestamptz NOT NULL,
    expected_rows bigint NOT NULL DEFAULT 0,
    expected_bytes bigint NOT NULL DEFAULT 0
);
CREATE INDEX source_read_asked_at_idx ON qupersync.source_read (asked_at, id);
