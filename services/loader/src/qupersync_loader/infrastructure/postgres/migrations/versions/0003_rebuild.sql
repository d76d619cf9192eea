-- One row per rebuild; the one of a pipeline that has not ended may be gone on with. `claim` is drawn anew by every process
-- that takes it up: whoever finds another one there has lost it. `who`: that process's host and process id.
CREATE TABLE public.qupersync_rebuild (
    id uuid CONSTRAINT qupersync_rebuild_pkey PRIMARY KEY,
    group_name text NOT NULL,
    pipeline text NOT NULL,
    shadow_schema text NOT NULL,
    shadow_table text NOT NULL,
    phase text NOT NULL CONSTRAINT qupersync_rebuild_phase_check CHECK (phase IN (
        'reading', 'comparing', 'swapping', 'kept', 'different', 'swapped', 'merged', 'discarded'
    )),
    rows bigint NOT NULL DEFAULT 0,
    detail text NOT NULL DEFAULT '',
    claim uuid NOT NULL,
    who text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CONSTRAINT qupersync_rebuild_ended_check CHECK (
        (ended_at IS NOT NULL) = (phase IN ('swapped', 'merged', 'discarded'))
    )
);
CREATE UNIQUE INDEX qupersync_rebuild_open ON public.qupersync_rebuild (group_name, pipeline) WHERE ended_at IS NULL;

-- What waited in the live table's name and does not in its successor's.
ALTER TABLE public.qupersync_quarantine
    DROP CONSTRAINT qupersync_quarantine_resolution_check,
    ADD CONSTRAINT qupersync_quarantine_resolution_check CHECK (resolution IN ('loaded', 'gone', 'discarded', 'rebuilt'));
ALTER TABLE public.qupersync_dead_letter
    DROP CONSTRAINT qupersync_dead_letter_resolution_check,
    ADD CONSTRAINT qupersync_dead_letter_resolution_check
        CHECK (resolution IN ('reread', 'snapshot', 'discarded', 'rebuilt'));

-- As before, without shadows: no loader group that people name has a `~`.
CREATE OR REPLACE VIEW public.qupersync_state AS
SELECT p.target_schema || '.' || p.target_table AS table_name,
       CASE WHEN count(w.honest_time) = p.lanes THEN min(w.honest_time) END AS last_sync_time,
       max(w.applied_at) AS updated_at
FROM public.qupersync_pipeline AS p
LEFT JOIN public.qupersync_watermark AS w
    ON w.group_name = p.group_name AND w.pipeline = p.pipeline AND w.lanes = p.lanes
WHERE strpos(p.group_name, '~') = 0
GROUP BY p.group_name, p.pipeline;
