-- Locks the pipeline's row FOR UPDATE: no event of any lane is applied meanwhile.
SELECT log, lanes, filled::text FROM public.qupersync_pipeline WHERE group_name = $1 AND pipeline = $2 FOR UPDATE
