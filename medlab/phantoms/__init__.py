"""The embedded cohorts, simulated with known truth."""
