-- Marks how far every pipeline's log has been published by all its lanes, where that is further than its last mark and
-- that one is older than :apart_seconds (or is of a clock that was put back). Locks what it writes, in the order of
-- pipelines: of processes that mark at once one finds the other's rows there.
INSERT INTO qupersync.ledger_mark (pipeline, log, hop, sequence)
SELECT e.pipeline, e.log, 'published', published.sequence
FROM qupersync.extraction AS e
CROSS JOIN LATERAL (
    SELECT min(coalesce(c.last_sequence, 0)) AS sequence
    FROM generate_series(0, e.lanes - 1) AS lanes (lane)
    LEFT JOIN qupersync.relay_cursor AS c ON c.pipeline = e.pipeline AND c.lane = lanes.lane AND c.log = e.log
) AS published
LEFT JOIN LATERAL (
    SELECT m.sequence, m.reached_at
    FROM qupersync.ledger_mark AS m
    WHERE m.pipeline = e.pipeline AND m.log = e.log AND m.hop = 'published' AND m.loader_group = ''
    ORDER BY m.sequence DESC
    LIMIT 1
) AS last ON true
WHERE published.sequence > coalesce(last.sequence, 0)
  AND (last.reached_at IS NULL OR last.reached_at > clock_timestamp()
       OR last.reached_at <= clock_timestamp() - make_interval(secs => :apart_seconds))
ORDER BY e.pipeline
ON CONFLICT DO NOTHING
