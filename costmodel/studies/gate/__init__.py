"""Holds the training steps of a repository's networks against budgets that stand in its pyproject.toml."""
