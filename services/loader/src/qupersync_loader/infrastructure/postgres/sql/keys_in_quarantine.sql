-- The keys of a pipeline that wait in quarantine in either of two loader groups. Locks nothing.
SELECT DISTINCT key FROM public.qupersync_quarantine
WHERE group_name IN ($1, $2) AND pipeline = $3 AND resolved_at IS NULL
