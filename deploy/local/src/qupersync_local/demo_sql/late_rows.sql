-- {table}: $2 rows changed by a transaction that stays open for a while. Locks the rows with ids from $1 on.
UPDATE {table}
SET effective_cost = coalesce(effective_cost, 0) + 1, updated_at = transaction_timestamp() AT TIME ZONE 'UTC'
WHERE id >= $1 AND id < $1 + $2;
