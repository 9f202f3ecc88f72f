"""Stores and runs on the Hugging Face Hub: cards and pushing."""
