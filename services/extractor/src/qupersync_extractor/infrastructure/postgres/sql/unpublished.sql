-- Whether a record of a current log between :lower and :upper lies beyond its relay cursor. Locks nothing itself.
-- Records of older logs and of lanes that no longer exist are never published any more.
SELECT EXISTS (
    SELECT
    FROM qupersync.extraction AS e
    CROSS JOIN LATERAL generate_series(0, e.lanes - 1) AS lanes (lane)
    LEFT JOIN qupersync.relay_cursor AS c ON c.pipeline = e.pipeline AND c.lane = lanes.lane AND c.log = e.log
    CROSS JOIN LATERAL (
        SELECT
        FROM qupersync.outbox AS o
        WHERE o.pipeline = e.pipeline AND o.lane = lanes.lane AND o.log = e.log
          AND o.sequence > coalesce(c.last_sequence, 0)
          AND o.occurred_at >= :lower AND o.occurred_at < :upper
        LIMIT 1
    ) AS waiting
)
