-- Which of these advisory locks somebody holds, by their keys. Locks nothing.
SELECT (classid::bigint << 32) | objid::bigint AS claim
FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((classid::bigint << 32) | objid::bigint) = ANY (CAST(:claims AS bigint[]))
