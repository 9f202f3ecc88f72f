"""Search of a store's clips by words or by example."""
