-- The columns that a pipeline has filled. Locks the row if they are others: no event is applied meanwhile.
UPDATE public.qupersync_pipeline SET filled = $3::text::jsonb, updated_at = clock_timestamp()
WHERE group_name = $1 AND pipeline = $2 AND filled <> $3::text::jsonb
