"""Pretraining of decoders over feature stores, without labels."""
