-- The target table is not the one that the watermarks speak of; the pipeline's row was locked FOR UPDATE before.
DELETE FROM public.qupersync_watermark WHERE group_name = $1 AND pipeline = $2
