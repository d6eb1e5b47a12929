"""A heap for the large blocks of training (heap.c), and how a process gets it."""
