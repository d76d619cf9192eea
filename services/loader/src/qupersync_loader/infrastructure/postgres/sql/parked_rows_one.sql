-- One row of a pipeline's quarantine, with the names of its columns. Locks nothing.
SELECT id, key, reason, times, first_seen, last_seen, event_id, log, sequence, resolved_at, resolution, resolved_by,
       ARRAY(SELECT jsonb_object_keys("row")) AS columns
FROM public.qupersync_quarantine
WHERE group_name = :group_name AND pipeline = :pipeline AND id = :id
