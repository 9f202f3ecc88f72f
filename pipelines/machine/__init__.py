"""This machine: what works on it, and how many cores it has."""
