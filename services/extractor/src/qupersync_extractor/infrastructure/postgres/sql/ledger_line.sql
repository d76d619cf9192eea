-- A page's line in the ledger, and the relays' notification, in one round trip. Locks nothing. A line that is there
-- already keeps no page from being committed.
WITH line AS (
    INSERT INTO qupersync.ledger_page (pipeline, log, sequence, run_id, mode, rows, bytes)
    VALUES (:pipeline, :log, :sequence, :run, :mode, :rows, :bytes)
    ON CONFLICT (pipeline, log, sequence) DO NOTHING
)
SELECT pg_notify(:channel, :payload)
