-- Who holds an advisory lock, by the two halves of its key. Locks nothing.
SELECT a.pid AS process, a.application_name AS name, a.backend_start AS since
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = $1::bigint::oid AND l.objid = $2::bigint::oid
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
