-- Stores a lane's watermark; its row, if there is one, was locked before, else the pipeline's row FOR UPDATE.
INSERT INTO public.qupersync_watermark
    (group_name, pipeline, lane, lanes, log, sequence, event_id, building, snapshot_whole, snapshot_id,
     snapshot_first, snapshot_last, honest_time, position, altered, applied_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::text::jsonb, $15, clock_timestamp())
ON CONFLICT (group_name, pipeline, lane) DO UPDATE
SET lanes = excluded.lanes,
    log = excluded.log,
    sequence = excluded.sequence,
    event_id = excluded.event_id,
    building = excluded.building,
    snapshot_whole = excluded.snapshot_whole,
    snapshot_id = excluded.snapshot_id,
    snapshot_first = excluded.snapshot_first,
    snapshot_last = excluded.snapshot_last,
    honest_time = excluded.honest_time,
    position = coalesce(excluded.position, qupersync_watermark.position),
    altered = qupersync_watermark.altered + excluded.altered,
    applied_at = excluded.applied_at
