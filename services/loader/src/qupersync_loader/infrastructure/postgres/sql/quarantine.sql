-- Keeps refused rows, the newest version of each key; the lane is locked.
INSERT INTO public.qupersync_quarantine AS q
    (group_name, pipeline, slot, key, "row", reason, event_id, log, sequence)
SELECT $1, $2, bad.slot, bad.key, bad.content::jsonb, bad.reason, $3, $4, $5
FROM unnest($6::smallint[], $7::text[], $8::text[], $9::text[]) AS bad (slot, key, content, reason)
ON CONFLICT (group_name, pipeline, md5(key)) WHERE resolved_at IS NULL DO UPDATE
SET "row" = excluded."row",
    reason = excluded.reason,
    event_id = excluded.event_id,
    log = excluded.log,
    sequence = excluded.sequence,
    times = q.times + 1,
    last_seen = clock_timestamp()
