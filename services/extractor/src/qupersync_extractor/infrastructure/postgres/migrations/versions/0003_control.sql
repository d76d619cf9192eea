-- What people decide of a pipeline. `version` grows with every change: who changes an older one is told so.
-- A pipeline that was removed keeps its row, marked as deleted.
CREATE TABLE qupersync.pipeline_control (
    pipeline text NOT NULL CONSTRAINT pipeline_control_pkey PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    reason text,
    version bigint NOT NULL DEFAULT 1 CONSTRAINT pipeline_control_version_check CHECK (version >= 1),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by text NOT NULL,
    deleted_at timestamptz,
    deleted_by text,
    CONSTRAINT pipeline_control_deleted_check CHECK ((deleted_at IS NULL) = (deleted_by IS NULL))
);
