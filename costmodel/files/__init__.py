"""Files: YAML, tables, what is shipped with the package."""
