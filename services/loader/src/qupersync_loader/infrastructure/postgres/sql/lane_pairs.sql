-- The watermarks of a pipeline in two loader groups. Locks nothing.
SELECT group_name, lane, lanes, log, sequence, event_id, building, snapshot_whole, snapshot_id, snapshot_first,
       snapshot_last, honest_time
FROM public.qupersync_watermark
WHERE pipeline = $3 AND group_name IN ($1, $2)
ORDER BY lane
