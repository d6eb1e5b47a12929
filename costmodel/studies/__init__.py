"""Questions about many steps: what fits, what is best, what was published."""
