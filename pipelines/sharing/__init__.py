"""Stores and runs on the Hugging Face Hub: cards, and how to push them"""
