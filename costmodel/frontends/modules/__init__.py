"""Networks as torch.nn.Module, traced."""
