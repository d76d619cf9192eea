-- What a source has said of a row once, and forgets: system views keep a few days.
CREATE TABLE qupersync.remembered (
    pipeline text NOT NULL,
    key text NOT NULL,
    facts jsonb NOT NULL CONSTRAINT remembered_facts_check CHECK (jsonb_typeof(facts) = 'object'),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT remembered_pkey PRIMARY KEY (pipeline, key)
);
