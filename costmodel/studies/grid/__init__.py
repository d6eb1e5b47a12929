"""Grids of steps: every combination of some axes."""
