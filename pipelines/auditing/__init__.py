"""Evidence about a benchmark: its length, its splits, its noise."""
