-- For the rest of the transaction: read by index. A plan made while a partition was empty reads it whole, and is kept
-- while the partition fills. Locks nothing.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
