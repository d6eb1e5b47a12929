"""Where a step runs, and what kernels allocate there."""
