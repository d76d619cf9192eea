-- Where the pages of :pipelines are, a few index entries each. Locks nothing.
SELECT wanted.pipeline, clock_timestamp() AS as_of, e.log, e.sequence, newest.extracted_at,
       published.sequence AS published_sequence, marked.reached_at AS published_at,
       reached.groups, reached.logs, reached.sequences, reached.ats, following.extracted_at AS next_at,
       e.trouble, e.snapshot_id IS NOT NULL AS snapshotting, coalesce(c.paused, false) AS paused
FROM unnest(CAST(:pipelines AS text[])) AS wanted (pipeline)
LEFT JOIN qupersync.extraction AS e ON e.pipeline = wanted.pipeline
LEFT JOIN qupersync.pipeline_control AS c ON c.pipeline = e.pipeline
LEFT JOIN qupersync.ledger_page AS newest
    ON newest.pipeline = e.pipeline AND newest.log = e.log AND newest.sequence = e.sequence
CROSS JOIN LATERAL (
    SELECT min(coalesce(r.last_sequence, 0)) AS sequence
    FROM generate_series(0, e.lanes - 1) AS lanes (lane)
    LEFT JOIN qupersync.relay_cursor AS r ON r.pipeline = e.pipeline AND r.lane = lanes.lane AND r.log = e.log
) AS published
LEFT JOIN LATERAL (
    SELECT m.reached_at
    FROM qupersync.ledger_mark AS m
    WHERE m.pipeline = e.pipeline AND m.log = e.log AND m.hop = 'published' AND m.loader_group = ''
      AND m.sequence <= published.sequence
    ORDER BY m.sequence DESC
    LIMIT 1
) AS marked ON true
CROSS JOIN LATERAL (
    SELECT array_agg(r.loader_group) AS groups, array_agg(r.log) AS logs, array_agg(r.sequence) AS sequences,
           array_agg(r.reached_at) AS ats, min(CASE WHEN r.log = e.log THEN r.sequence ELSE 0 END) AS passed
    FROM qupersync.ledger_reach AS r
    WHERE r.pipeline = e.pipeline
) AS reached
LEFT JOIN qupersync.ledger_page AS following
    ON following.pipeline = e.pipeline AND following.log = e.log AND following.sequence = coalesce(reached.passed, 0) + 1
