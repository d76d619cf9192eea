-- One dead letter of a pipeline without headers and payload. Locks nothing.
SELECT id, event_id, lane, lanes, log, sequence, headers ->> 'ce-mode' AS mode, octet_length(payload) AS bytes, reason,
       parked_at AS first_seen, parked_at AS last_seen, resolved_at, resolution, resolved_by
FROM public.qupersync_dead_letter
WHERE group_name = :group_name AND pipeline = :pipeline AND id = :id
