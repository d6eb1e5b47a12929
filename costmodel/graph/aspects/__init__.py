"""The hooks of an op by aspect: what it computes, what autograd keeps, what kernels allocate, memory order."""
