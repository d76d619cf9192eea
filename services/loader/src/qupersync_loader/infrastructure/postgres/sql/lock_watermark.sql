-- Locks the lane's watermark FOR UPDATE; no row when the lane has never begun.
SELECT w.lanes, w.log, w.sequence, w.event_id, w.building, w.snapshot_whole, w.snapshot_id,
       w.snapshot_first, w.snapshot_last, w.honest_time,
       EXISTS (
           SELECT FROM public.qupersync_dead_letter AS d
           WHERE d.group_name = w.group_name AND d.pipeline = w.pipeline AND d.lane = w.lane
             AND d.resolved_at IS NULL
       ) AS parked
FROM public.qupersync_watermark AS w
WHERE w.group_name = $1 AND w.pipeline = $2 AND w.lane = $3
FOR UPDATE OF w
