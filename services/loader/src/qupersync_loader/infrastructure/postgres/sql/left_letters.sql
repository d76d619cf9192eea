-- Dead letters of logs with another number of lanes that an event names. Locks those rows, so that of the lanes that apply
-- the same page the last one sees all others.
SELECT id FROM public.qupersync_dead_letter
WHERE group_name = $1 AND pipeline = $2 AND lanes <> $3 AND event_id = ANY ($4::uuid[]) AND resolved_at IS NULL
ORDER BY id
FOR UPDATE
