-- Every page asks for the rows that were withheld longest ago, of what may be very many: in the index's order, unsorted.
-- Building it keeps pages from being committed meanwhile.
DROP INDEX qupersync.source_quarantine_unresolved_idx;
CREATE INDEX source_quarantine_unresolved_idx ON qupersync.source_quarantine (pipeline, last_seen_at)
    WHERE resolved_at IS NULL;
