-- A rebuild has ended. Locks its row.
UPDATE public.qupersync_rebuild
SET phase = $3, rows = $4, noted_at = clock_timestamp(), ended_at = clock_timestamp()
WHERE group_name = $1 AND pipeline = $2 AND ended_at IS NULL
