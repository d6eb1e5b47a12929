"""Grids of steps: every combination of the values of some axes."""
