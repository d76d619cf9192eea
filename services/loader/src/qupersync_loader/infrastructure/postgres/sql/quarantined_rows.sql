-- Rows of the quarantine in the order in which they were first refused. Locks nothing.
SELECT id, pipeline, key, "row"::text AS content, reason, times, first_seen, last_seen, resolved_at, resolution, slot,
       event_id, log, sequence
FROM public.qupersync_quarantine
WHERE group_name = :group_name
  AND (cardinality(CAST(:pipelines AS text[])) = 0 OR pipeline = ANY (CAST(:pipelines AS text[])))
  AND (CAST(:resolved AS boolean) OR resolved_at IS NULL) AND id > :after
ORDER BY id
LIMIT :rows_max
