"""Comparing source and target: ranges by sums, rows by digests, and what differs told for sure."""
