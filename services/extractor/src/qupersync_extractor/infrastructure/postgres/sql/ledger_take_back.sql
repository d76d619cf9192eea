-- A group's target was restored to an older state: what it has lost is not applied any more. Nothing changes unless the
-- group stands where it was known to. Locks the group's row and the marks that go.
WITH back AS (
    UPDATE qupersync.ledger_reach AS r
    SET log = :log, sequence = :sequence, reached_at = clock_timestamp()
    WHERE r.pipeline = :pipeline AND r.loader_group = :group
      AND r.log = :known_log AND r.sequence = :known_sequence
    RETURNING r.pipeline, r.loader_group, r.log, r.sequence
), gone AS (
    DELETE FROM qupersync.ledger_mark AS m
    USING back
    WHERE m.pipeline = back.pipeline AND m.hop = 'applied' AND m.loader_group = back.loader_group
      AND (m.log, m.sequence) > (back.log, back.sequence)
)
SELECT EXISTS (SELECT FROM back)
