-- The newest snapshot whose first page the lane took, that page's sequence, and its last page's once that has passed: what
-- was parked before it has then been said again. `altered`: rows that lost their NUL bytes, because the owner chose so.
ALTER TABLE public.qupersync_watermark
    ADD COLUMN snapshot_id uuid,
    ADD COLUMN snapshot_first bigint,
    ADD COLUMN snapshot_last bigint,
    ADD COLUMN altered bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT qupersync_watermark_snapshot_check CHECK (
        (snapshot_id IS NULL) = (snapshot_first IS NULL) AND (snapshot_first IS NOT NULL OR snapshot_last IS NULL)
    );

-- `reread_for`: the snapshot after which the key was asked for again; once for each.
ALTER TABLE public.qupersync_quarantine
    ADD COLUMN times bigint NOT NULL DEFAULT 1 CONSTRAINT qupersync_quarantine_times_check CHECK (times >= 1),
    ADD COLUMN reread_for uuid;
CREATE INDEX qupersync_quarantine_resolved ON public.qupersync_quarantine (resolved_at) WHERE resolved_at IS NOT NULL;

-- `id` is for people; `lanes` and `snapshot_id` are the event's, so that a later snapshot knows what it makes good.
ALTER TABLE public.qupersync_dead_letter
    ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT qupersync_dead_letter_id_key UNIQUE,
    ADD COLUMN lanes integer,
    ADD COLUMN snapshot_id uuid,
    DROP CONSTRAINT qupersync_dead_letter_resolution_check;
UPDATE public.qupersync_dead_letter
SET lanes = coalesce((headers ->> 'ce-lanes')::integer, lane + 1), snapshot_id = (headers ->> 'ce-snapshotid')::uuid;
UPDATE public.qupersync_dead_letter SET resolution = 'reread' WHERE resolution = 'redriven';
ALTER TABLE public.qupersync_dead_letter
    ALTER COLUMN lanes SET NOT NULL,
    ADD CONSTRAINT qupersync_dead_letter_resolution_check CHECK (resolution IN ('reread', 'snapshot', 'discarded'));
CREATE INDEX qupersync_dead_letter_resolved ON public.qupersync_dead_letter (resolved_at) WHERE resolved_at IS NOT NULL;
