"""Pretraining without labels: predict masked clips, or the next ones."""
