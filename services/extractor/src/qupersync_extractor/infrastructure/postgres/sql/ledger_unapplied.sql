-- The pages that no mark says every loader group has applied, log by log, by index. A group that has no mark of a log
-- that is over came later: it lacks nothing there. Locks nothing.
WITH RECURSIVE logs AS (
    (SELECT p.pipeline, p.log FROM qupersync.ledger_page AS p ORDER BY p.pipeline, p.log LIMIT 1)
    UNION ALL
    SELECT following.pipeline, following.log
    FROM logs
    CROSS JOIN LATERAL (
        SELECT p.pipeline, p.log
        FROM qupersync.ledger_page AS p
        WHERE (p.pipeline, p.log) > (logs.pipeline, logs.log)
        ORDER BY p.pipeline, p.log
        LIMIT 1
    ) AS following
), passed AS (
    SELECT logs.pipeline, logs.log,
           coalesce(min(CASE WHEN logs.log = e.log THEN coalesce(last.sequence, 0) ELSE last.sequence END), 0)
               AS sequence
    FROM logs
    LEFT JOIN qupersync.extraction AS e ON e.pipeline = logs.pipeline
    LEFT JOIN qupersync.ledger_reach AS r ON r.pipeline = logs.pipeline
    LEFT JOIN LATERAL (
        SELECT m.sequence
        FROM qupersync.ledger_mark AS m
        WHERE m.pipeline = logs.pipeline AND m.log = logs.log AND m.hop = 'applied'
          AND m.loader_group = r.loader_group
        ORDER BY m.sequence DESC
        LIMIT 1
    ) AS last ON true
    GROUP BY logs.pipeline, logs.log
)
SELECT pages.*,
       CASE WHEN pages.log IS DISTINCT FROM e.log THEN 'superseded'
            WHEN pages.sequence <= published.sequence THEN 'published'
            ELSE 'extracted' END AS state
FROM passed
LEFT JOIN qupersync.extraction AS e ON e.pipeline = passed.pipeline
LEFT JOIN LATERAL (
    SELECT m.sequence
    FROM qupersync.ledger_mark AS m
    WHERE m.pipeline = passed.pipeline AND m.log = passed.log AND m.hop = 'published' AND m.loader_group = ''
    ORDER BY m.sequence DESC
    LIMIT 1
) AS published ON true
CROSS JOIN LATERAL (
    SELECT p.*
    FROM qupersync.ledger_page AS p
    WHERE p.pipeline = passed.pipeline AND p.log = passed.log AND p.sequence > passed.sequence
    OFFSET 0  -- looked up log by log: joined at once, the whole table would be read
) AS pages
