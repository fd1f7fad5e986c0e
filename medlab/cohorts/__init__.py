"""A dataset that can be believed: cards, checks, splits, preparation, vocabulary."""
