"""Loss functions of torch, as people call them: in the graph or by a dry step, held against real steps."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel.frontends.modules.dry.ctc import as_with_data
from costmodel.ops.class_loss import CrossEntropy
from costmodel.ops.value_loss import MeanSquaredError
from costmodel.pytorch import measure
from costmodel.pytorch.validate import validate

CLASSES, SIDE = 5, 9
WEIGHTS = torch.rand(CLASSES)


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))


class Three(nn.Module):
    """A network's results for three images: an anchor, one like it, one unlike it."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, a, b, c):
        return self.net(a), self.net(b), self.net(c)


class Taught(nn.Module):
    def __init__(self):
        super().__init__()
        self.teacher, self.student = Net().requires_grad_(False), Net()

    def forward(self, x):
        with torch.no_grad():
            teacher = self.teacher(x)
        return self.student(x), teacher


class Places(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, CLASSES, 3, padding=1))


class Steps(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv1d(6, CLASSES, 3))


class Letters(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(6, 8, 3, padding=1), nn.Linear(8, CLASSES)

    def forward(self, x):
        return F.log_softmax(self.fc(F.relu(self.conv(x)).transpose(1, 2)), 2).transpose(0, 1)


def distilled(outputs, targets, temperature=4.0):
    student, teacher = (x / temperature for x in outputs)
    soft = F.kl_div(F.log_softmax(student, 1), F.softmax(teacher, 1), reduction="batchmean")
    return soft * temperature**2 + F.cross_entropy(outputs[0], targets)


def focal(outputs, targets):
    loss = F.cross_entropy(outputs, targets, reduction="none")
    return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


def dice(outputs, targets):
    found = outputs.sigmoid()
    return 1 - (2 * (found * targets).sum() + 1) / (found.sum() + targets.sum() + 1)


def of_classes(batch):
    return torch.arange(batch) % CLASSES


def of_places(batch):
    return torch.zeros(batch, SIDE, SIDE, dtype=torch.int64)


def of_letters(batch):
    return torch.ones(batch, 3, dtype=torch.int64)


def by_reduction(function, **more):
    """The function as a loss, by the name of its reduction; what is not reduced is then averaged."""
    return {
        reduction: lambda *args, how=reduction: function(*args, reduction=how, **more).mean()
        for reduction in ("mean", "sum", "none")
    }


SHARES = torch.rand(2, CLASSES).softmax(1)
IN_THE_GRAPH = {
    "distilled": (Taught, distilled, of_classes),
    "of logarithms": (
        Taught,
        lambda y: F.kl_div(y[0].log_softmax(1), y[1].log_softmax(1), reduction="sum", log_target=True),
        None,
    ),
    "of two that train": (Three, lambda y: F.kl_div(y[0].log_softmax(1), y[1].softmax(1), reduction="batchmean"), None),
    "weighted": (Net, nn.CrossEntropyLoss(weight=WEIGHTS), of_classes),
    "focal": (Net, focal, of_classes),
    "shares": (Net, nn.CrossEntropyLoss(), SHARES),
    "weighted shares": (Net, nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"), SHARES),
    "each share": (Net, lambda y, t: F.cross_entropy(y, t, reduction="none").mean(), SHARES),
    "places": (Places, nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"), of_places),
    "each place": (Places, lambda y, t: F.cross_entropy(y, t, reduction="none").mean(), of_places),
    "each step": (
        Steps, lambda y, t: F.cross_entropy(y, t, reduction="none").mean(), lambda n: torch.zeros(n, 10).long()),
    "likelihood": (
        Net,
        lambda y, t: F.nll_loss(F.log_softmax(y, 1), t, weight=WEIGHTS, reduction="sum"),
        of_classes,
    ),
    "probabilities": (Net, lambda y, t: F.binary_cross_entropy(y.sigmoid(), t, weight=WEIGHTS), SHARES),
    "positives": (Net, nn.BCEWithLogitsLoss(weight=WEIGHTS, pos_weight=WEIGHTS), SHARES),
    "triplet": (Three, lambda y: nn.TripletMarginLoss()(*y), None),
    "distance": (Three, lambda y: F.pairwise_distance(*y[:2]).mean(), None),
    "angle": (Three, lambda y: 1 - F.cosine_similarity(*y[:2]).mean(), None),
    "all angles": (
        Three,
        lambda y: F.cross_entropy(F.cosine_similarity(y[0][:, None], y[1][None], 2) / 0.1, torch.arange(len(y[0]))),
        None,
    ),
    "dice": (Net, dice, SHARES),
    **{
        f"{name}, {how}": (Net, loss, SHARES)
        for name, function in (
            ("l1", F.l1_loss), ("mse", F.mse_loss), ("huber", F.huber_loss), ("smooth l1", F.smooth_l1_loss),
            ("bce", F.binary_cross_entropy_with_logits))
        for how, loss in by_reduction(function).items()
    },
}  # fmt: skip
BY_A_DRY_STEP = {
    "smoothed and weighted": (Net, nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), of_classes),
    "one cosine": (Three, lambda y, t: F.cosine_embedding_loss(*y[:2], t), lambda batch: torch.ones(batch)),
    "soft margin": (Net, nn.SoftMarginLoss(), SHARES),
    "margins": (Net, nn.MultiMarginLoss(), of_classes),
    "poisson": (Net, nn.PoissonNLLLoss(), SHARES),
    "letters": (
        Letters,
        lambda y, t: F.ctc_loss(y, t, torch.full((len(t),), len(y)), torch.full((len(t),), 3)),
        of_letters,
    ),
    "letters by name": (
        Letters,
        lambda y, t: nn.CTCLoss(reduction="sum", zero_infinity=True)(y, t, target_lengths=torch.full((len(t),), 3),
                                                                     input_lengths=torch.full((len(t),), len(y))),
        of_letters,
    ),
}  # fmt: skip


def held(case, **more):
    """The estimates with and without kernels, and the measured step, of a case."""
    make, loss, targets = case
    sizes = {Three: [(3, SIDE, SIDE)] * 3, Letters: (6, 12), Steps: (6, 12)}
    given = {"inputs": sizes.get(make, (3, SIDE, SIDE)), "loss": loss, "targets": targets, **more}
    module = make()
    found = costmodel.estimate(module, "as_is", 3, **given)
    tensors = costmodel.estimate(module, "as_is", 3, target="none", **given)
    real = measure(module, 3, **given)
    assert found.saved_bytes == real.saved_bytes
    assert found.flops["total"] == real.forward_flops + real.backward_flops
    assert (tensors.step_peak_bytes, tensors.left_bytes) == (real.tensor_peak_bytes, real.left_bytes)
    assert found.certainty.step_peak == "not_modelled" or found.step_peak_bytes == real.step_peak_bytes
    return found


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", IN_THE_GRAPH)
def test_a_loss_in_the_graph_costs_what_is_estimated(name):
    assert held(IN_THE_GRAPH[name]).certainty.saved == "checked"


@pytest.mark.parametrize("name", BY_A_DRY_STEP)
def test_a_loss_that_a_dry_step_answers_costs_what_is_estimated(name):
    assert held(BY_A_DRY_STEP[name]).certainty.saved == "dry"


@pytest.mark.parametrize("name", ["weighted", "places", "each place", "shares", "focal"])
def test_a_loss_under_autocast_costs_what_is_estimated(name):
    assert held(IN_THE_GRAPH[name], amp="bfloat16").certainty.saved == "checked"


@pytest.mark.parametrize("name", ["weighted", "places", "dice"])
@pytest.mark.parametrize("strategy, convention", [("bias", "lean"), ("full", "torch")])
def test_a_loss_of_ones_own_is_validated_and_is_one_part(name, strategy, convention):
    make, loss, targets = IN_THE_GRAPH[name]
    network = costmodel.load(make(), inputs=(3, SIDE, SIDE), loss=loss, targets=targets)
    assert not network.graph.returns_several
    parts = [part for part, _ in costmodel.estimate(network, strategy, 3, convention=convention).graph.parts]
    assert parts[-1] == "loss" and parts.count("loss") == 1
    assert all(check.holds for check in validate(network, strategy, 3, None, convention))


def test_what_a_distillation_keeps_by_hand():
    """The student's logits are 3x5 numbers: kept are its log-probabilities, the teacher's shares and what cross-entropy
    keeps, beside both softmaxes' own results, which are the same storages, and numbers that torch keeps of products."""
    module = Taught()
    with_it = costmodel.estimate(module, "as_is", 3, inputs=(3, SIDE, SIDE), loss=distilled, targets=of_classes)
    without = costmodel.estimate(
        module, "as_is", 3, inputs=(3, SIDE, SIDE), loss=lambda y, t: F.cross_entropy(y[0], t), targets=of_classes
    )
    numbers = 8 * 3  # / temperature, / the batch, * temperature ** 2
    assert with_it.saved_bytes - without.saved_bytes == 2 * 4 * 3 * CLASSES + numbers


def test_a_loss_has_its_own_place_in_messages():
    smoothed = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1)
    found = costmodel.estimate(Net(), "full", 2, inputs=(3, SIDE, SIDE), loss=smoothed, targets=of_classes)
    assert any("(in the loss (CrossEntropyLoss))" in note for note in found.notes)


def test_texts_of_losses():
    assert str(CrossEntropy(label_smoothing=0.1)) == "cross_entropy,label_smoothing=0.1"
    assert str(MeanSquaredError("sum")) == "mse"  # how it is reduced is no part of a request


def test_lengths_are_lists_if_both_have_data():
    logits, targets = torch.zeros(4, 2, 3), torch.ones(2, 2, dtype=torch.int64)
    lengths = torch.tensor([4, 4]), torch.tensor([2, 1])
    args, named = as_with_data(F.ctc_loss, (logits, targets, lengths[0]), {"target_lengths": lengths[1], "blank": 0})
    assert args[2:] == ([4, 4], [2, 1]) and named == {"blank": 0}
    args, named = as_with_data(F.ctc_loss, (logits, targets, lengths[0], (2, 1)), {})
    assert args[2] is lengths[0] and args[3] == (2, 1)  # which torch refuses
    assert as_with_data(F.nll_loss, (logits, targets), {}) == ((logits, targets), {})
