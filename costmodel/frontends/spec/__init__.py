"""Networks as YAML specs."""
