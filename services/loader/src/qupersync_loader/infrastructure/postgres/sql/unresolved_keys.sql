-- Some keys of a pipeline in quarantine. Locks nothing; the lane is locked.
SELECT id, slot, key FROM public.qupersync_quarantine
WHERE group_name = $1 AND pipeline = $2 AND resolved_at IS NULL
LIMIT $3
