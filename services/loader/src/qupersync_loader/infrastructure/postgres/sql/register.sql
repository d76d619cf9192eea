-- The pipeline's row, made if missing. Locks it if it was made.
INSERT INTO public.qupersync_pipeline (group_name, pipeline, target_schema, target_table)
VALUES ($1, $2, $3, $4)
ON CONFLICT (group_name, pipeline) DO NOTHING
