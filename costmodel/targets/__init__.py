"""Where a step runs, and what its kernels allocate there."""
