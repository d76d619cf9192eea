-- How far each lane of pipelines $1 is published. Locks nothing.
SELECT pipeline, lane, log, last_sequence AS sequence
FROM qupersync.relay_cursor
WHERE pipeline = ANY ($1::text[]);
