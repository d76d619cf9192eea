-- Whether dead letters of a lane's log wait. Locks nothing; the lane is locked.
SELECT EXISTS (
    SELECT FROM public.qupersync_dead_letter
    WHERE group_name = $1 AND pipeline = $2 AND lane = $3 AND log = $4 AND resolved_at IS NULL
)
