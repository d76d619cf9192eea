-- Keeps an event; the lane is locked.
INSERT INTO public.qupersync_dead_letter
    (group_name, event_id, pipeline, lane, log, sequence, headers, payload, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9)
ON CONFLICT (group_name, event_id) DO NOTHING
