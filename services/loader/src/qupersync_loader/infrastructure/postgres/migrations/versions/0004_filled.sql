-- `filled`: the columns of the target table that events have ever filled, by name; for each, log and sequence of the first event
-- known to have brought it, and, where its source has dropped it, of the first one that lacked it. Of a table that an earlier
-- version has filled nothing is known until its next event says which columns the source has: what the source dropped before
-- that keeps its old values, as it did, and is the owner's.
ALTER TABLE public.qupersync_pipeline ADD COLUMN filled jsonb NOT NULL DEFAULT '{}';
