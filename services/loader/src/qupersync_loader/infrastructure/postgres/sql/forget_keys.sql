-- Rows of some keys, by their digests, do not wait in the shadow's quarantine any more. Locks them.
DELETE FROM public.qupersync_quarantine
WHERE group_name = $1 AND pipeline = $2 AND md5(key) = ANY ($3::text[]) AND resolved_at IS NULL
