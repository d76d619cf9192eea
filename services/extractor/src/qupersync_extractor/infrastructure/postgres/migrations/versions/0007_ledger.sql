-- One row a page, written in its transaction; nothing in it changes later. `number` tells rows of one moment apart.
-- `mode` is the event's, or `heartbeat` for the empty page of an idle pipeline, which has no run.
CREATE TABLE qupersync.ledger_page (
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    pipeline text NOT NULL,
    log bigint NOT NULL,
    sequence bigint NOT NULL,
    run_id uuid,
    mode text NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    extracted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ledger_page_pkey PRIMARY KEY (pipeline, log, sequence)
);
CREATE INDEX ledger_page_extracted_at_idx ON qupersync.ledger_page (extracted_at, number);
CREATE INDEX ledger_page_pipeline_idx ON qupersync.ledger_page (pipeline, extracted_at, number);
CREATE INDEX ledger_page_mode_idx ON qupersync.ledger_page (mode, extracted_at, number);
CREATE INDEX ledger_page_run_idx ON qupersync.ledger_page (run_id, extracted_at, number) WHERE run_id IS NOT NULL;

-- How far a hop was found to be, and when: a page has passed it at the first mark that is not below its sequence. So
-- the ledger costs as much for a thousand small pages as for one, and a page's row is never touched again.
-- `loader_group` is empty for what was published.
CREATE TABLE qupersync.ledger_mark (
    pipeline text NOT NULL,
    log bigint NOT NULL,
    hop text NOT NULL CONSTRAINT ledger_mark_hop_check CHECK (hop IN ('published', 'applied')),
    loader_group text NOT NULL DEFAULT '',
    sequence bigint NOT NULL,
    reached_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ledger_mark_pkey PRIMARY KEY (pipeline, log, hop, loader_group, sequence)
);
CREATE INDEX ledger_mark_reached_at_idx ON qupersync.ledger_mark (reached_at);

-- How far each loader group has applied every lane of a pipeline, as last seen. A group that was removed has no row.
CREATE TABLE qupersync.ledger_reach (
    pipeline text NOT NULL,
    loader_group text NOT NULL,
    log bigint NOT NULL,
    sequence bigint NOT NULL,
    reached_at timestamptz NOT NULL,
    CONSTRAINT ledger_reach_pkey PRIMARY KEY (pipeline, loader_group)
) WITH (fillfactor = 50);

-- Which sequences a run wrote. A run that fails again and again before its first page is one row: `attempts` counts.
ALTER TABLE qupersync.run
    ADD COLUMN log bigint,
    ADD COLUMN first_sequence bigint,
    ADD COLUMN last_sequence bigint,
    ADD COLUMN attempts bigint NOT NULL DEFAULT 1 CONSTRAINT run_attempts_check CHECK (attempts >= 1);
CREATE INDEX run_failed_idx ON qupersync.run (started_at DESC, id DESC) WHERE error IS NOT NULL;
CREATE INDEX run_running_idx ON qupersync.run (pipeline) WHERE ended_at IS NULL;
