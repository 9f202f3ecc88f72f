"""Metrics: scores of items and of videos, of segmentation and of localisation."""
