"""Layers that keep their input in a form: one file for each form of costmodel/ops/forms/."""
