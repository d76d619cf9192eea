-- The pipeline's log and lanes; its row was locked FOR UPDATE before.
UPDATE public.qupersync_pipeline SET log = $3, lanes = $4, updated_at = clock_timestamp()
WHERE group_name = $1 AND pipeline = $2
