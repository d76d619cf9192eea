"""The extractor: pages of the source, through the outbox, to the stream."""
