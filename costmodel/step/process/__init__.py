"""What the process around a step takes: the pools and heaps that its allocations go through, and what is beside."""
