"""The S4 kernel and the interchangeable ways to compute it."""
