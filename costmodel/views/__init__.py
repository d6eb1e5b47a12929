"""Estimates as people look at them."""
