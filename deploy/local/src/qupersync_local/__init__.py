"""The local stack: PostgreSQL, NATS and a Redshift stand-in, started from wheels, without root or Docker."""
