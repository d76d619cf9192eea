-- Sends a lane back to :from_sequence, if the outbox still has it, and wakes its relay. Locks that relay cursor.
UPDATE qupersync.relay_cursor AS c
SET last_sequence = least(c.last_sequence, :from_sequence - 1), generation = c.generation + 1
WHERE c.pipeline = :pipeline AND c.lane = :lane AND c.log = :log
  AND EXISTS (SELECT FROM qupersync.extraction AS e WHERE e.pipeline = :pipeline AND e.log = :log)
  AND EXISTS (
      SELECT FROM qupersync.outbox AS o
      WHERE o.pipeline = :pipeline AND o.lane = :lane AND o.log = :log AND o.sequence = :from_sequence
  )
RETURNING c.generation, pg_notify(:channel, c.pipeline)
