"""One training step, priced."""
