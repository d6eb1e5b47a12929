"""Arithmetic on sizes."""
