-- Rows of a pipeline's quarantine without their values, the newest first. Locks nothing.
SELECT id, key, reason, times, first_seen, last_seen, event_id, log, sequence, resolved_at, resolution, resolved_by
FROM public.qupersync_quarantine
WHERE group_name = :group_name AND pipeline = :pipeline AND (CAST(:settled AS boolean) OR resolved_at IS NULL)
  AND (CAST(:kind AS text) IS NULL
       OR regexp_replace(regexp_replace(regexp_replace(reason, :quoted, :quoted_mark, 'g'), :digest, :digest_mark, 'g'),
           :number, :number_mark, 'g') = :kind)
  AND (CAST(:before AS bigint) IS NULL OR id < :before)
ORDER BY id DESC
LIMIT :rows_max
