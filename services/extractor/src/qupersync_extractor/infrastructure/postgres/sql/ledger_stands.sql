-- How far every pipeline is extracted, and how far the ledger knows its loader groups to be. Locks nothing.
SELECT e.pipeline, e.log, e.sequence, reached.groups, reached.logs, reached.sequences, reached.ats
FROM qupersync.extraction AS e
LEFT JOIN (
    SELECT r.pipeline, array_agg(r.loader_group) AS groups, array_agg(r.log) AS logs,
           array_agg(r.sequence) AS sequences, array_agg(r.reached_at) AS ats
    FROM qupersync.ledger_reach AS r
    GROUP BY r.pipeline
) AS reached ON reached.pipeline = e.pipeline
