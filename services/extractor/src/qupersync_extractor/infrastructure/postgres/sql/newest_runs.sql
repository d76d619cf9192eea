-- The last run of each of these pipelines: one index entry each, however long their histories are. Locks nothing.
SELECT r.*
FROM unnest(CAST(:pipelines AS text[])) AS p (pipeline)
CROSS JOIN LATERAL (
    SELECT r.*
    FROM qupersync.run AS r
    WHERE r.pipeline = p.pipeline
    ORDER BY r.started_at DESC, r.id DESC
    LIMIT 1
) AS r
