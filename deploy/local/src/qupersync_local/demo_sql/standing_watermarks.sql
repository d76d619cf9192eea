-- How far each lane of pipelines $1 is applied by loader group $2. Locks nothing.
SELECT pipeline, lane, log, sequence, snapshot_whole::text, honest_time
FROM qupersync_watermark
WHERE pipeline = ANY ($1::text[]) AND group_name = $2;
