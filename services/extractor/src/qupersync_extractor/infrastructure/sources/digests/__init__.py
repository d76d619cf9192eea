"""Digests of rows, computed by a source's own engine (contract: `row_digests`)."""
