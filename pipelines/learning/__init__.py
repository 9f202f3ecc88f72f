"""Training of encoders, from labelled clips and from stored features."""
