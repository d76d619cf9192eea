-- Locks all watermarks of a pipeline FOR UPDATE, in lane order; its row was locked FOR SHARE before.
SELECT lane FROM public.qupersync_watermark WHERE group_name = $1 AND pipeline = $2 ORDER BY lane FOR UPDATE
