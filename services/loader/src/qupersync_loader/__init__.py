"""The loader: applies batch events from JetStream to a target PostgreSQL, rows and watermark in one transaction."""
