"""Networks as people write them: other inputs than square images, other losses, several heads."""

import json
from dataclasses import dataclass

import owncode
import pytest
import torch
from owncode import Heads, Words
from real import seldom
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel.errors import CostmodelError
from costmodel.frontends.modules.criterion import Criterion
from costmodel.frontends.modules.functions import FUNCTIONS
from costmodel.frontends.modules.given import Objective, arguments, in_format, real
from costmodel.frontends.modules.losses import cross_entropy
from costmodel.frontends.modules.outputs import main_of
from costmodel.frontends.spec.export import to_yaml
from costmodel.graph.inputs import Input, Sides, images, read_inputs, read_resolution, resized, resolution_of
from costmodel.ops._named_loss import LOSSES, find_loss
from costmodel.ops.class_loss import CrossEntropy
from costmodel.ops.embedding import Embedding
from costmodel.ops.given import FurtherInput, Targets
from costmodel.pytorch import measure
from costmodel.pytorch.validate import validate
from costmodel.studies.grid.sides import networks_at


class Spectrogram(nn.Sequential):
    def __init__(self):
        features = nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(*features, nn.Linear(8, 5))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.hidden, self.fc = nn.Linear(16 * 5 * 5, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return self.fc(F.relu(self.hidden(x.flatten(1))))


class Perceptron(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(28 * 28, 32), nn.ReLU(), nn.Linear(32, 10))


class WithAge(nn.Module):
    """Images and a row of numbers for each."""

    def __init__(self):
        super().__init__()
        self.conv, self.rest, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, x, age):
        return self.fc(self.conv(x).mean((2, 3)) + self.rest(age))


class Masked(nn.Module):
    """Takes a mask by keyword, as booleans."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x, mask=None):
        return self.fc(x * mask)


class Segments(nn.Module):
    """A map of classes; with `name`, in a dict as torchvision's segmentation models give it."""

    def __init__(self, name=""):
        super().__init__()
        self.name, self.down, self.up = name, nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        y = F.interpolate(self.up(F.relu(self.down(x))), size=x.shape[2:], mode="bilinear", align_corners=False)
        return {self.name: y, "aux": y.detach()} if self.name else y


def lengths(output, targets):
    return F.l1_loss(output, targets) + F.smooth_l1_loss(output, targets) + F.huber_loss(output, targets)


OF_HEADS = {"loss": owncode.loss, "targets": {"kind": torch.zeros(4, dtype=torch.int64), "place": torch.rand(4, 2)}}
CASES = {
    "spectrogram": (Spectrogram, {"inputs": (1, 40, 96)}),
    "lenet": (LeNet, {"resolution": 32}),
    "perceptron": (Perceptron, {"inputs": "28x28"}),
    "two inputs": (WithAge, {"inputs": [(3, 12, 10), torch.rand(7, 5)]}),
    "words": (Words, {"inputs": ["7:int64", "mask=7"]}),
    "two heads": (Heads, {"resolution": 16, **OF_HEADS}),
    "maps": (Segments, {"resolution": "20x14"}),
    "maps, named": (lambda: Segments("out"), {"resolution": 20}),
    "smoothed": (Segments, {"resolution": 20, "loss": "cross_entropy,label_smoothing=0.1"}),
    "bce": (Segments, {"resolution": (20, 14), "loss": "bce"}),
    "mse": (Segments, {"resolution": 20, "loss": "mse"}),
    "lengths": (Perceptron, {"inputs": (28, 28), "loss": lengths, "targets": torch.rand(2, 10)}),
    "likelihood": (
        lambda: nn.Sequential(Perceptron(), nn.LogSoftmax(1)),
        {"inputs": (28, 28), "loss": nn.NLLLoss(), "targets": lambda batch: torch.randint(10, (batch,))},
    ),
    "of the outputs alone": (Heads, {"resolution": 8, "loss": lambda y: y["kind"].mean() + y["place"].mean()}),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("strategy", ["full", *seldom("last", "inference")])
def test_a_real_step_costs_what_is_estimated(name, strategy):
    make, options = CASES[name]
    network = costmodel.load(make(), **options)
    if strategy == "last" and not network.graph.classifier:
        strategy = "as_is"
    for batch in (2, 3):
        found = costmodel.estimate(network, strategy, batch)
        assert found.certainty.saved == found.certainty.tensor_peak == "checked", found.notes
        for check in validate(network, strategy, batch, None):
            assert check.holds, (batch, check)


def test_a_keyword_and_booleans_are_answered_by_a_dry_step_at_least():
    module, inputs = Masked(), {"x": (6,), "mask": torch.ones(3, 6, dtype=torch.bool)}
    found = costmodel.estimate(module, "full", 5, inputs=inputs, target="none")
    real_one = measure(module, 5, inputs=inputs)
    assert (found.saved_bytes, found.step_peak_bytes) == (real_one.saved_bytes, real_one.tensor_peak_bytes)
    assert found.memory_bytes["input"] == 5 * 6 * 4 + 5 * 6


def test_what_is_given_is_there_before_the_step():
    module = WithAge()
    found = costmodel.estimate(module, "full", 3, inputs=[(3, 12, 10), (5,)])
    assert found.memory_bytes["input"] == 4 * 3 * (3 * 12 * 10 + 5)
    assert found.resident_bytes == 4 * found.parameters + found.memory_bytes["input"] + 8 * 3  # int64 targets
    document = json.loads(json.dumps(found.to_dict()))
    assert (document["input_shape"], document["inputs"], document["loss"]) == (
        [3, 12, 10],
        [[3, 12, 10], [5]],
        "cross_entropy",
    )
    maps = costmodel.estimate(Segments(), "full", 3, (20, 14), loss="mse")
    assert maps.resident_bytes == 4 * (maps.parameters + 3 * 3 * 20 * 14 + 3 * 4 * 20 * 14)
    assert maps.to_dict()["loss"] == "mse" and maps.input_shape == (3, 20, 14)
    heads = costmodel.estimate(Heads(), "full", 3, 16, **OF_HEADS)
    assert heads.resident_bytes == 4 * (heads.parameters + 3 * 3 * 16 * 16) + 3 * 8 + 3 * 2 * 4
    assert heads.to_dict()["loss"] == "loss"


def test_the_mean_of_squares_stays_in_the_storage_of_the_squares():
    """So the loss takes 4 bytes for each number of the result until the step ends."""
    network = costmodel.load(Segments(), resolution=20, loss="mse")
    found = costmodel.estimate(network, "full", 2, target="none")
    assert found.left_bytes == 4 * found.parameters + 4 * 2 * 4 * 20 * 20


def test_lean_modules_and_plans_take_other_inputs_and_losses():
    spoken = costmodel.load(Spectrogram(), inputs=(1, 40, 96), loss="cross_entropy,label_smoothing=0.1")
    for check in validate(spoken, "bias", 2, None, "lean"):
        assert check.holds, check
    least = costmodel.estimate(spoken, "last", 4).peak_bytes
    found = costmodel.plan(spoken, least + 1000, batch=4)
    assert found.estimate.peak_bytes <= least + 1000 and found.estimate.request.resolution == Sides(40, 96)
    for options in (OF_HEADS, {"loss": lambda outputs: outputs["kind"].square().mean()}):
        heads = costmodel.load(Heads(), resolution=16, **options)
        whole = costmodel.estimate(heads, "full", 4)
        assert whole.graph.has_loss and "loss" in [name for name, _ in whole.graph.parts]


def test_a_sweep_over_sides():
    grid = {"batch": "2..4", "resolution": ["16", "20x14"], "loss": "bce"}
    found = costmodel.sweep(Segments(), "full", **grid)
    assert found.resolution.tolist() == ["16"] * 3 + ["20x14"] * 3 and found.fixed["loss"] == "bce"
    for row, (side, batch) in enumerate((side, batch) for side in (16, Sides(20, 14)) for batch in (2, 3, 4)):
        assert found.saved_bytes[row] == costmodel.estimate(Segments(), "full", batch, side, loss="bce").saved_bytes
    other = costmodel.sweep(WithAge(), "full", batch=[2, 5], inputs=[(3, 12, 10), (5,)])
    cell = costmodel.estimate(WithAge(), "full", 5, inputs=[(3, 12, 10), (5,)])
    assert other.peak_bytes[1] == cell.peak_bytes and other.resolution.tolist() == ["12x10"] * 2


def test_sizes_as_people_write_them():
    assert read_inputs("1x40x96") == (Input((1, 40, 96)),) == read_inputs((1, 40, 96)) == read_inputs([[1, 40, 96]])
    assert read_inputs(["77:int64", "mask=77:bool"]) == (Input((77,), "int64"), Input((77,), "bool", "mask"))
    assert read_inputs({"x": torch.zeros(2, 3, dtype=torch.int32)}) == (Input((3,), "int32", "x"),)
    assert read_inputs(torch.zeros(2)) == (Input(()),) and str(Input((), "bool")) == "one number:bool"
    assert str(read_inputs("mask=3x4:uint8")[0]) == "mask=3x4:uint8" and Input((4,), "int16").bits == 16
    assert read_resolution("192x256") == Sides(192, 256) and read_resolution((9, 9)) == 9 and str(Sides(2, 3)) == "2x3"
    assert resolution_of(images(Sides(2, 3))) == Sides(2, 3) and resolution_of((Input((7,)),)) is None
    assert resized(images(8), Sides(4, 6)) == images(Sides(4, 6)) and resized((Input((7,)),), None) == (Input((7,)),)
    assert read_inputs([torch.ones(4, dtype=torch.int64)]) == (Input((), "int64"),) == read_inputs([torch.tensor([8])])
    with pytest.raises(CostmodelError, match="two inputs are called 'mask'"):
        read_inputs(["mask=7", "mask=9"])
    for given in ("1x", "x3", "0x3", "3x3:int", "3:float32", (), {}, [(0, 3)], (3, 2.5), 7, torch.zeros(()), None):
        with pytest.raises(CostmodelError, match="allowed: "):
            read_inputs(given)


def test_the_tensors_of_a_run():
    example = torch.tensor([[1, 2], [3, 4], [5, 6]])
    (first, second), named = arguments(read_inputs([(3, 2, 2), example]), 5, torch.bfloat16, real)
    assert first.shape == (5, 3, 2, 2) and first.dtype == torch.bfloat16 and named == {}
    assert second.tolist() == [[1, 2], [3, 4], [5, 6], [1, 2], [3, 4]]  # its rows, over and over
    (last,), _ = in_format(([first], {}), torch.channels_last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert main_of((first,)) is first and main_of({"logits": first, "aux": second}) is first
    loss = Criterion(CrossEntropy(), 5, torch.device("cpu"), torch.float32)
    assert loss.of([torch.zeros(5, 4)]).item() == pytest.approx(1.3863, 1e-4) and loss.targets[0].shape == (5,)
    assert Objective(owncode.loss).name == "loss" and Objective(nn.MSELoss()).name == "MSELoss"


def test_an_embedding_by_hand():
    """Its gradient reads the indices, 3 x 7 int64, and is as large as the table; the looked-up rows are not kept."""
    assert Embedding(50, 16).shape((3, 7)) == (3, 7, 16) and Embedding(50, 16).params() == {"weight": (50, 16)}
    module = nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(112, 4))
    found = costmodel.estimate(module, "full", 3, inputs="7:int64", target="none")
    assert [row.saved_bytes for row in found.rows][:2] == [3 * 7 * 8, 3 * 7 * 16 * 4]
    assert found.memory_bytes["gradients"] == 4 * (50 * 16 + 112 * 4 + 4)


def test_the_ops_of_what_is_given():
    assert FurtherInput((5, 7), 64).shape((3, 1)) == (3, 5, 7) and Targets().shape((2, 9, 4, 3)) == (2, 4, 3)
    assert Targets("values").shape((2, 9)) == (2, 9) and Targets("values").bits == 0 and Targets().bits == 64
    assert find_loss("cross_entropy,label_smoothing=0.1") == CrossEntropy(0.1)
    assert [str(find_loss(name)) for name in LOSSES] == [*LOSSES] and FUNCTIONS["cross_entropy"] is cross_entropy
    assert str(CrossEntropy(0.1)) == "cross_entropy,label_smoothing=0.1"


TWO = {"loss": owncode.loss, "targets": OF_HEADS["targets"]}
#: A bad request, and what the one message must say.
BAD = {
    "no such loss": (Heads, {"loss": "crossentropy"}, "unknown loss 'crossentropy'; did you mean 'cross_entropy'"),
    "no such option": (Heads, {"loss": "mse,label_smoothing=1"}, "unknown option of mse 'label_smoothing'"),
    "no number": (Heads, {"loss": "cross_entropy,label_smoothing=x"}, "label_smoothing is 'x'; allowed: a number"),
    "too much": (Heads, {"loss": "cross_entropy,label_smoothing=2"}, "label_smoothing is 2.0; allowed: a number"),
    "which output": (Heads, {}, r"^Heads: the network returns a dict of 2 tensors \(kind, place\); .*=FUNCTION"),
    "no loss for it": (LeNet, {"resolution": 32, **TWO}, "the loss loss ends in"),
    "targets of another size": (
        Perceptron,
        {"inputs": (28, 28), "loss": F.mse_loss, "targets": torch.rand(3, 11)},
        r"the loss mse_loss ends in|shapes",
    ),
    "targets without a batch": (Heads, {**TWO, "targets": lambda batch: torch.rand(3)}, "the batch is the first axis"),
    "no number comes out": (Perceptron, {"inputs": (28, 28), "loss": lambda y: y}, "gives shape .*; allowed: a tensor"),
    "targets alone": (Heads, {"targets": torch.rand(3)}, "targets are for a loss of one's own"),
    "no function": (Heads, {"loss": 3}, "loss is a int; allowed: cross_entropy, bce, mse, or a function"),
    "an input that it refuses": (LeNet, {"inputs": (2, 32, 32)}, "the network on 2x32x32 ends in .*inputs= takes"),
    "no size": (LeNet, {"inputs": "32x"}, "input is '32x'; allowed: a size of one example"),
    "sides of no image": (Perceptron, {"inputs": (28, 28), "resolution": 28}, "takes 28x28, no images"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message(name):
    make, options, said = BAD[name]
    with pytest.raises(CostmodelError, match=said) as error:
        costmodel.estimate(make(), "full", 2, **{"resolution": 16, **options} if "inputs" not in options else options)
    assert "\n" not in str(error.value)


@dataclass
class Found:
    logits: torch.Tensor
    features: torch.Tensor


class InARecord(nn.Module):
    """Returns a dataclass."""

    def __init__(self):
        super().__init__()
        self.hidden, self.fc = nn.Linear(28 * 28, 32), nn.Linear(32, 10)

    def forward(self, x):
        features = F.relu(self.hidden(x.flatten(1)))
        return Found(self.fc(features), features)


def test_a_dataclass_is_several_outputs():
    named = costmodel.load(InARecord(), inputs=(28, 28))
    both_of_them = costmodel.load(
        InARecord(),
        inputs=(28, 28),
        loss=lambda found, targets: F.cross_entropy(found.logits, targets) + found.features.abs().mean(),
        targets=lambda batch: torch.zeros(batch, dtype=torch.int64),
    )
    for network in (named, both_of_them):
        for strategy in ("full", "last", "inference"):
            for check in validate(network, strategy, 3, None):
                assert check.holds, check


def test_a_sweep_and_a_spec_of_a_loss_of_ones_own(tmp_path):
    network = costmodel.load(Heads(), resolution=16, **OF_HEADS)
    grid = costmodel.sweep(network, "full,last", batch="2..5", target="none")
    for row, (strategy, batch) in enumerate((s, b) for s in ("full", "last") for b in (2, 3, 4, 5)):
        one = costmodel.estimate(network, strategy, batch, target="none")
        assert (grid.saved_bytes[row], grid.step_peak_bytes[row]) == (one.saved_bytes, one.step_peak_bytes)
    (tmp_path / "heads.yaml").write_text(to_yaml(network))
    again = costmodel.estimate(str(tmp_path / "heads.yaml"), "full", 5, target="none")
    one = costmodel.estimate(network, "full", 5, target="none")
    assert (again.step_peak_bytes, again.resident_bytes) == (one.step_peak_bytes, one.resident_bytes)


def test_a_loss_on_which_nothing_that_trains_has_an_effect_is_noted():
    apart = {"loss": lambda outputs: outputs["kind"].mean()}  # the classifier is the other head
    found = costmodel.estimate(Heads(), "last", 2, 16, **apart)
    assert any("Nothing that the loss depends on trains" in note for note in found.notes)
    assert not any("Nothing that" in note for note in costmodel.estimate(Heads(), "full", 2, 16, **apart).notes)


def test_a_loss_that_reads_the_module_itself_is_not_measured_on_a_copy():
    module = Perceptron()
    decay = {"loss": lambda y, t: F.cross_entropy(y, t) + sum(p.square().sum() for p in module.parameters())}
    network = costmodel.load(module, inputs=(28, 28), targets=lambda b: torch.zeros(b, dtype=torch.int64), **decay)
    with pytest.raises(CostmodelError, match="a copy cannot be measured"):
        validate(network, "full", 2, None)


def test_specs_take_names_of_losses_alone():
    one = costmodel.estimate("mcunet_5fps", "last", 2, 48, loss="bce")
    assert (
        one.request.loss.kind == "bce" and one.resident_bytes > costmodel.estimate("mcunet_5fps", "last", 2, 48).batch
    )
    for options in ({"loss": owncode.loss}, {"inputs": (3, 8, 8)}):
        with pytest.raises(
            CostmodelError, match=": found for a spec, an ONNX file or a Network; allowed: for a module"
        ):
            costmodel.load("mcunet_5fps", **options)
    loaded = costmodel.load(Heads(), resolution=16, **OF_HEADS)
    with pytest.raises(CostmodelError, match="was loaded with the loss loss; allowed: no other one"):
        costmodel.estimate(loaded, loss="mse")


def test_a_sweep_traces_a_module_at_each_resolution_at_which_it_has_other_layers():
    base = costmodel.load(Segments(), resolution=16)
    at = networks_at(base, (16, 20))
    assert at[16] is base and at[20].resolution == 20  # the size of its result is a number in its code
    same = costmodel.load(Spectrogram(), inputs=(1, 16, 16))
    assert set(networks_at(same, (16, 20, Sides(9, 11))).values()) == {same}
    with pytest.raises(CostmodelError, match="its layers depend on the images' size; allowed: at most 32 resolutions"):
        networks_at(base, tuple(range(16, 60)))
