-- What waits in the live table's name (group $1) in some slots waits in the shadow's (group $2) too. Locks nothing else.
INSERT INTO public.qupersync_quarantine
    (group_name, pipeline, slot, key, "row", reason, event_id, log, sequence, times, first_seen, last_seen)
SELECT $2, pipeline, slot, key, "row", reason, event_id, log, sequence, times, first_seen, last_seen
FROM public.qupersync_quarantine
WHERE group_name = $1 AND pipeline = $3 AND resolved_at IS NULL AND slot = ANY ($4::smallint[])
ON CONFLICT (group_name, pipeline, md5(key)) WHERE resolved_at IS NULL DO NOTHING
