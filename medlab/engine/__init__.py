"""Runs and pages: parameters, stamps, execution, reports, openings of the test part."""
