-- Who gave it up.
ALTER TABLE public.qupersync_quarantine ADD COLUMN resolved_by text;
ALTER TABLE public.qupersync_dead_letter ADD COLUMN resolved_by text;

-- What waits of a pipeline, page by page.
CREATE INDEX qupersync_quarantine_waiting ON public.qupersync_quarantine (group_name, pipeline, id)
    WHERE resolved_at IS NULL;
CREATE INDEX qupersync_dead_letter_waiting ON public.qupersync_dead_letter (group_name, pipeline, id)
    WHERE resolved_at IS NULL;
