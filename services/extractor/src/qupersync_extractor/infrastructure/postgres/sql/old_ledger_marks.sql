-- Removes some marks older than :seconds that no page of the ledger needs any more. Locks those rows, and passes over
-- those that somebody else removes.
WITH old AS (
    SELECT m.pipeline, m.log, m.hop, m.loader_group, m.sequence
    FROM qupersync.ledger_mark AS m
    WHERE m.reached_at < clock_timestamp() - make_interval(secs => :seconds)
      AND NOT EXISTS (
          SELECT
          FROM qupersync.ledger_page AS p
          WHERE p.pipeline = m.pipeline AND p.log = m.log AND p.sequence <= m.sequence
      )
    ORDER BY m.reached_at
    LIMIT :batch
    FOR UPDATE OF m SKIP LOCKED
)
DELETE FROM qupersync.ledger_mark AS m
USING old
WHERE m.pipeline = old.pipeline AND m.log = old.log AND m.hop = old.hop AND m.loader_group = old.loader_group
  AND m.sequence = old.sequence
