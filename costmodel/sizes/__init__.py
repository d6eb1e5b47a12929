"""Arithmetic on sizes: ints, arrays, and lines over the batch."""
