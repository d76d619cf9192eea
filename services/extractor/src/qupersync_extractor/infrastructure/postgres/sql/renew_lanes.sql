-- Prolongs every lane lease of one owner, in lane order. Locks those relay cursors.
UPDATE qupersync.relay_cursor AS c
SET lease_until = clock_timestamp() + make_interval(secs => :seconds)
FROM (
    SELECT pipeline, lane FROM qupersync.relay_cursor WHERE owner = :owner ORDER BY pipeline, lane FOR UPDATE
) AS held
WHERE c.pipeline = held.pipeline AND c.lane = held.lane AND c.owner = :owner
