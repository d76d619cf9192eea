-- Rows that wait in both names go on waiting under the number that people know, with what the shadow (group $2) knows of them.
WITH known AS (
    UPDATE public.qupersync_quarantine AS live
    SET slot = shadow.slot,
        "row" = shadow."row",
        reason = shadow.reason,
        event_id = shadow.event_id,
        log = shadow.log,
        sequence = shadow.sequence
    FROM public.qupersync_quarantine AS shadow
    WHERE live.group_name = $1 AND live.pipeline = $3 AND live.resolved_at IS NULL
      AND shadow.group_name = $2 AND shadow.pipeline = $3 AND shadow.resolved_at IS NULL
      AND md5(shadow.key) = md5(live.key) AND shadow.key = live.key
    RETURNING shadow.id
)
DELETE FROM public.qupersync_quarantine WHERE id IN (SELECT id FROM known)
