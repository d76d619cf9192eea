-- Tells a request for a run from a later one: what was asked while a run worked is not forgotten with it.
ALTER TABLE qupersync.extraction ADD COLUMN run_ticket bigint NOT NULL DEFAULT 0;

-- What somebody asked to be read again: keys, or a span by cursor or by key, and how far that has come.
-- Kept for a while when it is done, so that the same request sent twice is done once.
CREATE TABLE qupersync.reread_request (
    id uuid NOT NULL CONSTRAINT reread_request_pkey PRIMARY KEY,
    pipeline text NOT NULL,
    asker text NOT NULL,
    reason text NOT NULL,
    wanted text NOT NULL CONSTRAINT reread_request_wanted_check CHECK (wanted IN ('keys', 'cursor', 'key')),
    keys text[] NOT NULL DEFAULT '{}',
    span_after text,
    span_upto text,
    redrives uuid[] NOT NULL DEFAULT '{}',
    keys_done bigint NOT NULL DEFAULT 0 CONSTRAINT reread_request_keys_done_check CHECK (keys_done >= 0),
    reached text,
    refused text,
    keys_refused bigint NOT NULL DEFAULT 0 CONSTRAINT reread_request_keys_refused_check CHECK (keys_refused >= 0),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    CONSTRAINT reread_request_content_check CHECK ((wanted = 'keys') = (cardinality(keys) > 0))
);

CREATE INDEX reread_request_waiting_idx ON qupersync.reread_request (pipeline, requested_at, id) WHERE done_at IS NULL;
CREATE INDEX reread_request_refused_idx ON qupersync.reread_request (pipeline) WHERE refused IS NOT NULL;
CREATE INDEX reread_request_done_at_idx ON qupersync.reread_request (done_at) WHERE done_at IS NOT NULL;

ALTER TABLE qupersync.source_quarantine
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolution text CONSTRAINT source_quarantine_resolution_check
        CHECK (resolution IN ('sent', 'gone', 'discarded')),
    ADD CONSTRAINT source_quarantine_resolved_check CHECK ((resolved_at IS NULL) = (resolution IS NULL));

CREATE INDEX source_quarantine_unresolved_idx ON qupersync.source_quarantine (pipeline, first_seen_at)
    WHERE resolved_at IS NULL;
