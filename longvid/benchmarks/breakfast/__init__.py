"""Breakfast: annotations and protocols."""
