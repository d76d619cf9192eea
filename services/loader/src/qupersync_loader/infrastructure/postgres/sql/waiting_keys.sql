-- Which of some keys wait in quarantine, by their digests. Locks nothing.
SELECT key FROM public.qupersync_quarantine
WHERE group_name = $1 AND pipeline = $2 AND md5(key) = ANY ($3::text[]) AND resolved_at IS NULL
