-- Where the lanes of pipelines stand in two loader groups, a shadow and its live table. Locks nothing.
SELECT pipeline, group_name, lane, log, sequence, snapshot_first
FROM public.qupersync_watermark
WHERE group_name IN (:live, :shadow) AND pipeline = ANY (CAST(:pipelines AS text[]))
ORDER BY pipeline, lane
