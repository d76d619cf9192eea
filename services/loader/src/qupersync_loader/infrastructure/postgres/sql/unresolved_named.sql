-- Keys of a pipeline in quarantine, by their digests. Locks nothing; the lane is locked.
SELECT id, slot, key FROM public.qupersync_quarantine
WHERE group_name = $1 AND pipeline = $2 AND md5(key) = ANY ($3::text[]) AND resolved_at IS NULL
