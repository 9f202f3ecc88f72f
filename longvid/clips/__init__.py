"""Clips of a video: which frames make one, how they look, and reading them."""
