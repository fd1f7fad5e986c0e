"""A source becomes a dataset."""
