-- How far a rebuild is; one that has ended stays so. Locks its row.
UPDATE public.qupersync_rebuild
SET phase = CASE WHEN ended_at IS NULL AND $2 NOT IN ('swapped', 'merged', 'discarded') THEN $2 ELSE phase END, rows = $3, detail = $4, noted_at = clock_timestamp()
WHERE id = $1 AND claim = $5
