"""Prices one training step."""
