"""COIN: annotations and protocols."""
