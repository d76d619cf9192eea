-- What people decided, in the order in which they did: the audit that pause, resume, reset and the rest leave.
CREATE TABLE qupersync.action (
    id uuid NOT NULL CONSTRAINT action_pkey PRIMARY KEY,
    pipeline text,
    action text NOT NULL,
    by text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX action_at_idx ON qupersync.action (at DESC, id DESC);
CREATE INDEX action_pipeline_idx ON qupersync.action (pipeline, at DESC, id DESC);

-- Requests that carried an Idempotency-Key, and what was answered: the same key is answered the same, and acts once.
CREATE TABLE qupersync.idempotency (
    key text NOT NULL,
    by text NOT NULL,
    request_digest bytea NOT NULL,
    status integer,
    answer jsonb,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT idempotency_pkey PRIMARY KEY (by, key)
);
CREATE INDEX idempotency_made_at_idx ON qupersync.idempotency (made_at);
