-- One row per pipeline of a loader group, and the owner of its target table. Locked FOR SHARE by every event, FOR UPDATE
-- to begin a lane or to change the log, which all lanes leave at once. `made`: the target table has been there; if it
-- is gone, the watermarks speak of nothing.
CREATE TABLE public.qupersync_pipeline (
    group_name text NOT NULL,
    pipeline text NOT NULL,
    target_schema text NOT NULL,
    target_table text NOT NULL,
    made boolean NOT NULL DEFAULT false,
    log bigint CONSTRAINT qupersync_pipeline_log_check CHECK (log >= 1),
    lanes integer CONSTRAINT qupersync_pipeline_lanes_check CHECK (lanes >= 1),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT qupersync_pipeline_pkey PRIMARY KEY (group_name, pipeline),
    CONSTRAINT qupersync_pipeline_target_key UNIQUE (target_schema, target_table),
    CONSTRAINT qupersync_pipeline_begun_check CHECK ((log IS NULL) = (lanes IS NULL))
);

-- The last event each lane applied. Rewritten by every event, never in an indexed column.
CREATE TABLE public.qupersync_watermark (
    group_name text NOT NULL,
    pipeline text NOT NULL,
    lane integer NOT NULL CONSTRAINT qupersync_watermark_lane_check CHECK (lane >= 0),
    lanes integer NOT NULL,
    log bigint NOT NULL,
    sequence bigint NOT NULL CONSTRAINT qupersync_watermark_sequence_check CHECK (sequence >= 1),
    event_id uuid NOT NULL,
    building uuid,
    snapshot_whole uuid,
    honest_time timestamptz,
    position jsonb,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT qupersync_watermark_pkey PRIMARY KEY (group_name, pipeline, lane),
    CONSTRAINT qupersync_watermark_lanes_check CHECK (lane < lanes),
    CONSTRAINT qupersync_watermark_pipeline_fkey FOREIGN KEY (group_name, pipeline)
        REFERENCES public.qupersync_pipeline ON DELETE CASCADE
) WITH (fillfactor = 50);

-- Rows that the target refused, the newest version of each key.
CREATE TABLE public.qupersync_quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT qupersync_quarantine_pkey PRIMARY KEY,
    group_name text NOT NULL,
    pipeline text NOT NULL,
    slot smallint NOT NULL,
    key text NOT NULL,
    "row" jsonb NOT NULL,
    reason text NOT NULL,
    event_id uuid NOT NULL,
    log bigint NOT NULL,
    sequence bigint NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    resolution text CONSTRAINT qupersync_quarantine_resolution_check
        CHECK (resolution IN ('loaded', 'gone', 'discarded')),
    CONSTRAINT qupersync_quarantine_resolved_check CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
-- A digest of the key, because a key may be longer than an index entry.
CREATE UNIQUE INDEX qupersync_quarantine_unresolved ON public.qupersync_quarantine
    (group_name, pipeline, md5(key)) WHERE resolved_at IS NULL;

-- Authentic events that could not be decoded or applied.
CREATE TABLE public.qupersync_dead_letter (
    group_name text NOT NULL,
    event_id uuid NOT NULL,
    pipeline text NOT NULL,
    lane integer NOT NULL,
    log bigint NOT NULL,
    sequence bigint NOT NULL,
    headers jsonb NOT NULL,
    payload bytea NOT NULL,
    reason text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    resolution text CONSTRAINT qupersync_dead_letter_resolution_check CHECK (resolution IN ('redriven', 'discarded')),
    CONSTRAINT qupersync_dead_letter_pkey PRIMARY KEY (group_name, event_id),
    CONSTRAINT qupersync_dead_letter_resolved_check CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
ALTER TABLE public.qupersync_dead_letter ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX qupersync_dead_letter_unresolved ON public.qupersync_dead_letter
    (group_name, pipeline, lane) WHERE resolved_at IS NULL;

-- What applications read. The time is NULL as long as some lane has nothing honest to say.
CREATE VIEW public.qupersync_state AS
SELECT p.target_schema || '.' || p.target_table AS table_name,
       CASE WHEN count(w.honest_time) = p.lanes THEN min(w.honest_time) END AS last_sync_time,
       max(w.applied_at) AS updated_at
FROM public.qupersync_pipeline AS p
LEFT JOIN public.qupersync_watermark AS w
    ON w.group_name = p.group_name AND w.pipeline = p.pipeline AND w.lanes = p.lanes
GROUP BY p.group_name, p.pipeline;
COMMENT ON VIEW public.qupersync_state IS
    'last_sync_time: every change committed at the source before it stands in the table; NULL while that is unknown';
