-- The pipeline's row, made if missing. Locks it if it was made. Every unique index is an arbiter: two lanes that begin
-- at once would else meet in the index over the target, which refuses where the one named here waits.
INSERT INTO public.qupersync_pipeline (group_name, pipeline, target_schema, target_table)
VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
