-- What lies beyond the relay cursors of the pipeline's current log. Locks nothing.
SELECT count(o.sequence) AS records,
       coalesce(sum(octet_length(o.payload)), 0)::bigint AS bytes,
       min(o.occurred_at) AS oldest
FROM qupersync.extraction AS e
CROSS JOIN LATERAL generate_series(0, e.lanes - 1) AS lanes (lane)
LEFT JOIN qupersync.relay_cursor AS c ON c.pipeline = e.pipeline AND c.lane = lanes.lane AND c.log = e.log
JOIN qupersync.outbox AS o
    ON o.pipeline = e.pipeline AND o.lane = lanes.lane AND o.log = e.log AND o.sequence > coalesce(c.last_sequence, 0)
WHERE e.pipeline = :pipeline
