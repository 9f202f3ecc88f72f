"""Training of encoders: from labelled clips, and from the features that a store holds of another encoder."""
