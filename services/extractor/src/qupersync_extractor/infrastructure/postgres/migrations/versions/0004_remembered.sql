-- What a source has said once, and forgets: system views keep a few days. `used_at` says what goes first when a subject
-- has more keys than it may.
CREATE TABLE qupersync.remembered (
    subject text NOT NULL,
    key text COLLATE "C" NOT NULL,
    facts jsonb NOT NULL CONSTRAINT remembered_facts_check CHECK (jsonb_typeof(facts) = 'object'),
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT remembered_pkey PRIMARY KEY (subject, key)
);
