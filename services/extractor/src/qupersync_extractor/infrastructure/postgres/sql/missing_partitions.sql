-- The statements that make and attach the outbox partitions missing between one before now and :ahead_seconds later.
-- Attaching a table lets inserts go on; CREATE TABLE … PARTITION OF would stop them. Locks nothing.
SELECT format(
           'CREATE TABLE qupersync.%I (LIKE qupersync.outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
           wanted.name
       ) AS make,
       format(
           'ALTER TABLE qupersync.outbox ATTACH PARTITION qupersync.%I FOR VALUES FROM (%L) TO (%L)',
           wanted.name, wanted.lower, wanted.lower + make_interval(secs => :width_seconds)
       ) AS attach
FROM (
    SELECT lower, 'outbox_' || to_char(lower AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MI') AS name
    FROM generate_series(
        date_bin(make_interval(secs => :width_seconds), clock_timestamp(), timestamptz '2000-01-01 00:00:00+00')
            - make_interval(secs => :width_seconds),
        clock_timestamp() + make_interval(secs => :ahead_seconds),
        make_interval(secs => :width_seconds)
    ) AS lower
) AS wanted
WHERE to_regclass(format('qupersync.%I', wanted.name)) IS NULL
ORDER BY wanted.lower
