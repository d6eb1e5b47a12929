"""Plans: the best choice for every part of a network under a budget."""
