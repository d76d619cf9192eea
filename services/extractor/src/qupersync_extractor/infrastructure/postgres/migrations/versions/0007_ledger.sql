-- One row a page, written in its transaction; nothing in it changes later.
CREATE TABLE qupersync.ledger_page (
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
CREATE INDEX ledger_page_extracted_at_idx ON qupersync.ledger_page (extracted_at);

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

-- Which sequences a run wrote.
ALTER TABLE qupersync.run
    ADD COLUMN log bigint,
    ADD COLUMN first_sequence bigint,
    ADD COLUMN last_sequence bigint;
