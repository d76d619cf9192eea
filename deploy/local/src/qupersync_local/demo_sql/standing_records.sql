-- Batch events of pipelines $1 beyond the sequences $2 already seen, in their current logs. Locks nothing.
SELECT o.pipeline, o.lane, o.log, o.sequence, (o.headers ->> 'ce-rowcount')::bigint AS rows,
       CASE WHEN o.headers ? 'ce-snapshotlast' THEN o.headers ->> 'ce-snapshotid' END AS snapshot_ended
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS seen (pipeline, log, sequence)
JOIN qupersync.extraction AS e ON e.pipeline = seen.pipeline
JOIN qupersync.outbox AS o ON o.pipeline = e.pipeline AND o.log = e.log
WHERE o.log > seen.log OR o.sequence > seen.sequence;
