-- The columns that a pipeline has filled in its target table. Locks nothing.
SELECT filled::text FROM public.qupersync_pipeline WHERE group_name = $1 AND pipeline = $2
