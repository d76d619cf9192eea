-- Keeps an event; the lane is locked.
INSERT INTO public.qupersync_dead_letter
    (group_name, event_id, pipeline, lane, lanes, log, sequence, snapshot_id, headers, payload, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $11)
ON CONFLICT (group_name, event_id) DO NOTHING
