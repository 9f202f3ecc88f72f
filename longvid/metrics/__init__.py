"""Metrics of items, whole videos, segmentation and localisation."""
