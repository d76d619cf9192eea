-- The phase of a rebuild. Locks nothing.
SELECT phase FROM public.qupersync_rebuild WHERE id = $1
