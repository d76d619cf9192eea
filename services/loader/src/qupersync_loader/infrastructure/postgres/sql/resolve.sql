-- Rows of the quarantine that have loaded, or are gone at the source; the lane is locked.
UPDATE public.qupersync_quarantine SET resolved_at = clock_timestamp(), resolution = $2 WHERE id = ANY ($1::bigint[])
