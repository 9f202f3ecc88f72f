"""Both stages on generated videos."""
