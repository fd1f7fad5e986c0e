"""Any file to pixels and millimetres: the only place that knows axis order, spacing and HU."""
