-- The transaction's start, where svv_transactions is not visible. Locks nothing.
SELECT CAST(SYSDATE AS VARCHAR(64))
