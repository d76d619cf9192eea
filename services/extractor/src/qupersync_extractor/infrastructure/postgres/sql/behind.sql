-- The pipelines with a lane that is not published to the end of the current log. Locks nothing.
-- A page puts a record on every lane, so the log's sequence tells: no look at the outbox is needed. A rewound lane is
-- behind as well.
SELECT e.pipeline
FROM qupersync.extraction AS e
JOIN qupersync.relay_cursor AS c ON c.pipeline = e.pipeline AND c.log = e.log
WHERE c.lane < e.lanes AND c.last_sequence < e.sequence
GROUP BY e.pipeline
