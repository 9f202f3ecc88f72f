"""Checks that a store's features are what its recipe makes of the videos."""
