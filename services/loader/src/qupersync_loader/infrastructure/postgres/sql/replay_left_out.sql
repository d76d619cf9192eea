-- Rows and events that a group's pipeline did not take, and the first few reasons. Locks nothing.
WITH refused AS (
    SELECT reason FROM public.qupersync_quarantine
    WHERE group_name = $1 AND pipeline = $2 AND resolved_at IS NULL
),
parked AS (
    SELECT reason FROM public.qupersync_dead_letter
    WHERE group_name = $1 AND pipeline = $2 AND resolved_at IS NULL
)
SELECT (SELECT count(*) FROM refused) AS rows,
       (SELECT count(*) FROM parked) AS events,
       ARRAY(
           SELECT reason FROM (SELECT reason FROM refused UNION SELECT reason FROM parked) AS every
           ORDER BY 1 LIMIT 5
       ) AS reasons
