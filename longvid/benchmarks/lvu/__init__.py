"""LVU: annotations and protocols."""
