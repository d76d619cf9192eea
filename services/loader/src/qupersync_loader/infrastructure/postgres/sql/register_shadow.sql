-- A shadow is a pipeline of its own, whose table is there, and has the columns that the live one (group $5) has filled.
-- Locks the row.
INSERT INTO public.qupersync_pipeline (group_name, pipeline, target_schema, target_table, made, filled)
SELECT $1, $2, $3, $4, true, p.filled
FROM public.qupersync_pipeline AS p WHERE p.group_name = $5 AND p.pipeline = $2
