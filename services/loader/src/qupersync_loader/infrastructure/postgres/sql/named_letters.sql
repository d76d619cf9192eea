-- Dead letters by their ids, without their payloads. Locks nothing.
SELECT id, event_id, pipeline, lane, lanes, log, sequence, headers::text AS headers, octet_length(payload) AS bytes,
       reason, parked_at, resolved_at, resolution
FROM public.qupersync_dead_letter
WHERE group_name = :group_name AND id = ANY (CAST(:ids AS bigint[]))
ORDER BY id
