"""Stage two: train long-range decoders over stored features."""
