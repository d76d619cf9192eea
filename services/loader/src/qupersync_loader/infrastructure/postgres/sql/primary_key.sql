-- The name of a table's primary key, by its oid. Locks nothing.
SELECT conname::text AS name FROM pg_constraint WHERE conrelid = $1 AND contype = 'p'
