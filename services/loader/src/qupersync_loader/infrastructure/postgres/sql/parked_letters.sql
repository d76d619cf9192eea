-- Dead letters of a pipeline without headers and payloads, the newest first. Locks nothing.
SELECT id, event_id, lane, lanes, log, sequence, headers ->> 'ce-mode' AS mode, octet_length(payload) AS bytes, reason,
       parked_at AS first_seen, parked_at AS last_seen, resolved_at, resolution, resolved_by
FROM public.qupersync_dead_letter
WHERE group_name = :group_name AND pipeline = :pipeline AND (CAST(:settled AS boolean) OR resolved_at IS NULL)
  AND (CAST(:kind AS text) IS NULL
       OR regexp_replace(regexp_replace(regexp_replace(reason, :quoted, :quoted_mark, 'g'), :digest, :digest_mark, 'g'),
           :number, :number_mark, 'g') = :kind)
  AND (CAST(:before AS bigint) IS NULL OR id < :before)
ORDER BY id DESC
LIMIT :rows_max
