"""The dry step: a module's own forward, loss and backward on tensors without data (torch's FakeTensorMode)."""
