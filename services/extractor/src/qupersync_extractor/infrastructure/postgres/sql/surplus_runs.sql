-- Removes ended runs that are not among the :newest of their pipeline, found by index. Locks those rows.
WITH RECURSIVE known AS (
    SELECT min(r.pipeline) AS pipeline FROM qupersync.run AS r
    UNION ALL
    SELECT (SELECT min(r.pipeline) FROM qupersync.run AS r WHERE r.pipeline > k.pipeline)
    FROM known AS k WHERE k.pipeline IS NOT NULL
)
DELETE FROM qupersync.run AS old
USING known AS k
CROSS JOIN LATERAL (
    SELECT r.started_at, r.id FROM qupersync.run AS r
    WHERE r.pipeline = k.pipeline
    ORDER BY r.started_at DESC, r.id DESC
    OFFSET :newest LIMIT 1
) AS first_left_out
WHERE old.pipeline = k.pipeline AND old.ended_at IS NOT NULL
  AND (old.started_at, old.id) <= (first_left_out.started_at, first_left_out.id)
