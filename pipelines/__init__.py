"""Extraction, training, evaluation, reports, benches and command line."""
