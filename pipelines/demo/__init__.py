"""Both stages on videos made on the spot."""
