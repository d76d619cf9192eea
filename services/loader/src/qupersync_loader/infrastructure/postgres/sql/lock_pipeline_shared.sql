-- Locks the pipeline's row FOR SHARE: the log and what is known of filled columns stay what they are until the transaction ends.
SELECT log, lanes, filled::text FROM public.qupersync_pipeline WHERE group_name = $1 AND pipeline = $2 FOR SHARE
