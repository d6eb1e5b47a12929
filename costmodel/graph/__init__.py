"""What a network is: ops, nodes, and what follows from them."""
