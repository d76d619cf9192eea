"""Use cases of extractor and relay, over ports."""
