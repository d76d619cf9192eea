-- Dead letters in the order in which they were parked, without their payloads. Locks nothing.
SELECT id, event_id, pipeline, lane, lanes, log, sequence, headers::text AS headers, octet_length(payload) AS bytes,
       reason, parked_at, resolved_at, resolution
FROM public.qupersync_dead_letter
WHERE group_name = :group_name
  AND (cardinality(CAST(:pipelines AS text[])) = 0 OR pipeline = ANY (CAST(:pipelines AS text[])))
  AND (CAST(:resolved AS boolean) OR resolved_at IS NULL) AND id > :after
ORDER BY id
LIMIT :rows_max
