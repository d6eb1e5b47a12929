"""An estimate held against a measured step."""


def assert_costs_are_equal(estimate, tensors, measured):
    """All that both know, but for the allocator's peak. tensors: the same estimate for the target none."""
    assert {
        "saved_bytes": estimate.saved_bytes,
        "tensor_peak_bytes": tensors.step_peak_bytes,
        "left_bytes": estimate.left_bytes,
        "parameters": estimate.parameters,
        "trainable_parameters": estimate.trainable_parameters,
        "forward_flops": estimate.flops["forward"],
        "backward_flops": estimate.flops["backward"],
    } == {
        "saved_bytes": measured.saved_bytes,
        "tensor_peak_bytes": measured.tensor_peak_bytes,
        "left_bytes": measured.left_bytes,
        "parameters": measured.parameters,
        "trainable_parameters": measured.trainable_parameters,
        "forward_flops": measured.forward_flops,
        "backward_flops": measured.backward_flops,
    }
