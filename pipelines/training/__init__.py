"""Stage two: train long-range decoders on stored features."""
