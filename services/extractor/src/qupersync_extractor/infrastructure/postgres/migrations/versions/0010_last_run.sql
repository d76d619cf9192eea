-- One row per pipeline: its last whole run, by the clock of the extractor that made it. Whatever was due up to `covers`
-- has had its run, and no other process makes it again. `definition` is a digest of what the pipeline was then.
-- Rewritten by every run, never in an indexed column.
CREATE TABLE qupersync.last_run (
    pipeline text NOT NULL CONSTRAINT last_run_pkey PRIMARY KEY,
    covers timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    definition text NOT NULL
) WITH (fillfactor = 50);
