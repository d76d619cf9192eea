-- Where extraction stands, for pipelines $1. Locks nothing.
SELECT pipeline, lanes, log, sequence, snapshot_id IS NOT NULL AS snapshotting, trouble
FROM qupersync.extraction
WHERE pipeline = ANY ($1::text[]);
