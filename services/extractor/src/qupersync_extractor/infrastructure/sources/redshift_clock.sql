-- The transaction's start, and the start of the oldest other transaction that is open. Locks nothing.
-- SYSDATE has microseconds, where GETDATE is cut to seconds, and it is safe: our transaction has just begun, so a
-- transaction that begins later says no less, and one that began before is either committed or listed here.
-- The list names our own sessions (",4711,4712,"): they only read, and would hold the clock back for nothing.
SELECT
    CAST(SYSDATE AS VARCHAR(64)),
    CAST(MIN(txn_start) AS VARCHAR(64))
FROM svv_transactions
WHERE lockable_object_type = 'transactionid'
  AND lock_mode = 'ExclusiveLock'
  AND granted
  AND pid <> pg_backend_pid()
  AND NOT (txn_owner = current_user
           AND POSITION(',' || CAST(pid AS VARCHAR(16)) || ',' IN CAST(? AS VARCHAR(65535))) > 0)
