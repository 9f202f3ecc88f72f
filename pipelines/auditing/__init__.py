"""Evidence about a benchmark: how long it is, how clean its splits are, how noisy its test is."""
