-- Marks how far loader groups have come, and when: the moment is the target's, unless that is yet to come here. Locks the
-- groups' rows, in their order. A group that was removed and is here again has only what it has now: marks of its former
-- life that lie beyond that go.
WITH seen AS (
    SELECT s.pipeline, s.loader_group, s.log, s.sequence, least(s.at, clock_timestamp()) AS at
    FROM unnest(
        CAST(:pipelines AS text[]), CAST(:groups AS text[]), CAST(:logs AS bigint[]), CAST(:sequences AS bigint[]),
        CAST(:ats AS timestamptz[])
    ) AS s (pipeline, loader_group, log, sequence, at)
), moved AS (
    INSERT INTO qupersync.ledger_reach AS r (pipeline, loader_group, log, sequence, reached_at)
    SELECT pipeline, loader_group, log, sequence, at FROM seen ORDER BY pipeline, loader_group
    ON CONFLICT (pipeline, loader_group) DO UPDATE
    SET log = excluded.log, sequence = excluded.sequence, reached_at = excluded.reached_at
    WHERE (r.log, r.sequence) < (excluded.log, excluded.sequence)
    RETURNING r.pipeline, r.loader_group, r.log, r.sequence, r.reached_at
), former AS (
    DELETE FROM qupersync.ledger_mark AS m
    USING moved
    WHERE m.pipeline = moved.pipeline AND m.hop = 'applied' AND m.loader_group = moved.loader_group
      AND (m.log, m.sequence) > (moved.log, moved.sequence)
      AND NOT EXISTS (
          SELECT
          FROM qupersync.ledger_reach AS known
          WHERE known.pipeline = moved.pipeline AND known.loader_group = moved.loader_group
      )
)
INSERT INTO qupersync.ledger_mark (pipeline, log, hop, loader_group, sequence, reached_at)
SELECT pipeline, log, 'applied', loader_group, sequence, reached_at FROM moved WHERE sequence > 0
ON CONFLICT DO NOTHING
