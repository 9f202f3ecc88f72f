"""Evaluation: scores of trained runs, answers for new videos, baselines."""
