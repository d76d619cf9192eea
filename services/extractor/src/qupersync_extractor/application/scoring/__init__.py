"""Scores: a column that a model computes for each row, between a page's read and its drafting."""
