-- Rows of the quarantine by their ids. Locks nothing.
SELECT id, pipeline, key, "row"::text AS content, reason, times, first_seen, last_seen, resolved_at, resolution, slot,
       event_id, log, sequence
FROM public.qupersync_quarantine
WHERE group_name = :group_name AND id = ANY (CAST(:ids AS bigint[]))
ORDER BY id
