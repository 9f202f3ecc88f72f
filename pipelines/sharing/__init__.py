"""Stores and runs on the Hugging Face Hub: their cards, and how they are pushed."""
