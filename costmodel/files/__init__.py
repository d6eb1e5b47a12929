"""Reads and writes files: YAML, tables, and the specs that the package ships."""
