-- The keys of a pipeline's lane in quarantine. Locks nothing; the lane is locked.
SELECT id, key FROM public.qupersync_quarantine
WHERE group_name = $1 AND pipeline = $2 AND mod(slot, $3) = $4 AND resolved_at IS NULL
ORDER BY id
