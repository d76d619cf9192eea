-- Pipelines that are none of :pipelines and whose records have waited to be published for longer than :retention_seconds:
-- no partition that holds one of them, or is younger, is dropped. Locks nothing.
SELECT e.pipeline, min(waiting.occurred_at) AS oldest
FROM qupersync.extraction AS e
CROSS JOIN LATERAL generate_series(0, e.lanes - 1) AS lanes (lane)
LEFT JOIN qupersync.relay_cursor AS c ON c.pipeline = e.pipeline AND c.lane = lanes.lane AND c.log = e.log
CROSS JOIN LATERAL (
    SELECT o.occurred_at
    FROM qupersync.outbox AS o
    WHERE o.pipeline = e.pipeline AND o.lane = lanes.lane AND o.log = e.log
      AND o.sequence > coalesce(c.last_sequence, 0)
    ORDER BY o.sequence
    LIMIT 1
) AS waiting
WHERE e.pipeline <> ALL (:pipelines)
GROUP BY e.pipeline
HAVING min(waiting.occurred_at) < clock_timestamp() - make_interval(secs => :retention_seconds)
ORDER BY e.pipeline
