-- Removes some pages that were extracted longer ago than :seconds, unless a loader group has yet to apply them. Locks
-- those rows, and passes over those that somebody else removes.
WITH passed AS (
    SELECT e.pipeline, e.log, min(CASE WHEN r.log = e.log THEN r.sequence ELSE 0 END) AS sequence
    FROM qupersync.extraction AS e
    JOIN qupersync.ledger_reach AS r ON r.pipeline = e.pipeline
    GROUP BY e.pipeline, e.log
), old AS (
    SELECT p.pipeline, p.log, p.sequence
    FROM qupersync.ledger_page AS p
    LEFT JOIN passed ON passed.pipeline = p.pipeline AND passed.log = p.log
    WHERE p.extracted_at < clock_timestamp() - make_interval(secs => :seconds)
      AND (passed.sequence IS NULL OR p.sequence <= passed.sequence)
    ORDER BY p.extracted_at
    LIMIT :batch
    FOR UPDATE OF p SKIP LOCKED
)
DELETE FROM qupersync.ledger_page AS p
USING old
WHERE p.pipeline = old.pipeline AND p.log = old.log AND p.sequence = old.sequence
