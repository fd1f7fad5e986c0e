"""Numbers only: intervals, measures, metrics, concordance."""
