-- Ends every lane lease of one owner, or those on one pipeline's lanes, in lane order. Locks those relay cursors.
UPDATE qupersync.relay_cursor AS c
SET owner = NULL, lease_until = NULL
FROM (
    SELECT pipeline, lane FROM qupersync.relay_cursor
    WHERE owner = :owner AND (CAST(:pipeline AS text) IS NULL OR pipeline = :pipeline)
    ORDER BY pipeline, lane FOR UPDATE
) AS held
WHERE c.pipeline = held.pipeline AND c.lane = held.lane AND c.owner = :owner
