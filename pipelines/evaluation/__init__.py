"""Evaluation: scores of trained runs, predictions for videos, baselines."""
