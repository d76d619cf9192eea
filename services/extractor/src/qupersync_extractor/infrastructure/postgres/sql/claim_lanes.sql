-- Leases the free, expired and own lanes of the pipeline's current log, in lane order (so that two relays never
-- deadlock). Locks the relay cursors it returns. A cursor of an older log begins anew; its place in the stream stays,
-- since the subject's messages go on; its generation rises, so that nothing late of the older log passes for its own.
-- A lease that would last for hours was given before the database's clock was put back, and keeps nobody away.
-- An older log never replaces a newer one: this statement's snapshot may be older than the row it waited for.
INSERT INTO qupersync.relay_cursor AS c
    (pipeline, lane, log, last_sequence, last_stream_sequence, generation, owner, lease_until)
SELECT e.pipeline, lanes.lane, e.log, 0, 0, 0, :owner, clock_timestamp() + make_interval(secs => :seconds)
FROM qupersync.extraction AS e
CROSS JOIN LATERAL generate_series(0, e.lanes - 1) AS lanes (lane)
WHERE e.pipeline = :pipeline
ORDER BY lanes.lane
ON CONFLICT (pipeline, lane) DO UPDATE
SET log = excluded.log,
    last_sequence = CASE WHEN c.log = excluded.log THEN c.last_sequence ELSE 0 END,
    generation = CASE WHEN c.log = excluded.log THEN c.generation ELSE c.generation + 1 END,
    owner = excluded.owner,
    lease_until = clock_timestamp() + make_interval(secs => :seconds)
WHERE excluded.log >= c.log
  AND (c.owner IS NULL OR c.owner = excluded.owner OR c.lease_until <= clock_timestamp()
       OR c.lease_until > clock_timestamp() + interval '2 hours')
RETURNING pipeline, lane, log, last_sequence, last_stream_sequence, generation
