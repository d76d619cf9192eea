-- When these pages passed their hops: at the first mark of their log that is not below them. Locks nothing.
SELECT published.reached_at AS published_at, applied.groups, applied.ats
FROM unnest(
    CAST(:pipelines AS text[]), CAST(:logs AS bigint[]), CAST(:sequences AS bigint[])
) WITH ORDINALITY AS page (pipeline, log, sequence, place)
LEFT JOIN LATERAL (
    SELECT m.reached_at
    FROM qupersync.ledger_mark AS m
    WHERE m.pipeline = page.pipeline AND m.log = page.log AND m.hop = 'published' AND m.loader_group = ''
      AND m.sequence >= page.sequence
    ORDER BY m.sequence
    LIMIT 1
) AS published ON true
LEFT JOIN LATERAL (
    SELECT array_agg(r.loader_group ORDER BY r.loader_group) AS groups,
           array_agg(first.reached_at ORDER BY r.loader_group) AS ats
    FROM qupersync.ledger_reach AS r
    LEFT JOIN LATERAL (
        SELECT m.reached_at
        FROM qupersync.ledger_mark AS m
        WHERE m.pipeline = page.pipeline AND m.log = page.log AND m.hop = 'applied'
          AND m.loader_group = r.loader_group AND m.sequence >= page.sequence
        ORDER BY m.sequence
        LIMIT 1
    ) AS first ON true
    WHERE r.pipeline = page.pipeline
) AS applied ON true
ORDER BY page.place
