-- What lies beyond the relay cursors of each pipeline's current log, pipeline by pipeline. Locks nothing.
SELECT e.pipeline,
       coalesce(sum(waiting.records), 0)::bigint AS records,
       coalesce(sum(waiting.bytes), 0)::bigint AS bytes,
       min(waiting.oldest) AS oldest
FROM qupersync.extraction AS e
CROSS JOIN LATERAL generate_series(0, e.lanes - 1) AS lanes (lane)
LEFT JOIN qupersync.relay_cursor AS c ON c.pipeline = e.pipeline AND c.lane = lanes.lane AND c.log = e.log
CROSS JOIN LATERAL (
    SELECT count(*) AS records, sum(octet_length(o.payload)) AS bytes, min(o.occurred_at) AS oldest
    FROM qupersync.outbox AS o
    WHERE o.pipeline = e.pipeline AND o.lane = lanes.lane AND o.log = e.log
      AND o.sequence > coalesce(c.last_sequence, 0)
) AS waiting
WHERE e.pipeline = ANY (:pipelines)
GROUP BY e.pipeline
