"""The adapters: PostgreSQL and its in-memory twin, and NATS."""
