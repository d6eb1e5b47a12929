"""Forms in which a layer keeps its input for the gradient of its weight: pooled, pruned, rounded, sliced.

A form is a file here, with the op of a convolution in it, and of a linear layer where it has one: the bytes, the work
and the scratch. Its functions in PyTorch are in the file of the same name in costmodel/pytorch/lean/forms/.
"""
