"""The callbacks of Lightning and of Hugging Face's Trainer, in small training runs. (Neither package is needed.)"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own
ROOT = Path(__file__).parents[2]
LIBRARIES = ("lightning", "transformers")
BATCH, RESOLUTION, CLASSES = 4, 32, 5


class Told(list):
    """What was printed."""

    def __call__(self, text):
        self.append(text)


def network():
    layers = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(8, CLASSES))


def data():
    return torch.randn(6 * BATCH, 3, RESOLUTION, RESOLUTION), torch.randint(0, CLASSES, (6 * BATCH,))


def is_predicted_but_for_the_loss(found):
    """Whether a step is equal. Both trainers divide the loss by a number: 4 bytes that cross_entropy does not need."""
    off = found.measured.peak_bytes - found.in_this_loop_bytes
    return found.measured.saved_bytes == found.predicted.saved_bytes and off in (0, 4)


def fit(lightning, net, calls_itself, callback, **options):
    """A short run of Lightning's Trainer on a network inside a LightningModule."""

    class Learner(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            images, labels = batch
            return cross_entropy(self(images) if calls_itself else self.net(images), labels)

        def validation_step(self, batch, _):
            self(batch[0])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters())

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=BATCH)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_steps=3, accelerator="cpu", callbacks=[callback], **quiet, **options)
    trainer.fit(Learner(), loader, loader)


@pytest.mark.parametrize("calls_itself", [False, True])
def test_lightning(calls_itself):
    lightning = pytest.importorskip("lightning.pytorch")
    from costmodel.pytorch.lightning import CostCallback

    net, callback = network(), CostCallback(show=Told())
    fit(lightning, net, calls_itself, callback)
    (told,) = callback.options["show"]
    found = callback.watch.comparison
    assert isinstance(callback, lightning.Callback)
    assert told.startswith(
        f"costmodel: step 2 of {'Learner' if calls_itself else 'Sequential'}, batch 4 at 32x32, as_is"
    )
    # Lightning's loop calls zero_grad() after the forward pass.
    assert is_predicted_but_for_the_loss(found)
    assert found.measured.stale_bytes == 4 * sum(p.numel() for p in net.parameters())


def test_lightning_by_its_other_name():
    pytest.importorskip("pytorch_lightning")
    code = "from costmodel.frontends.modules.imports import imported; imported('torchvision');"
    code += "import pytorch_lightning as L; from costmodel.pytorch.lightning import CostCallback as C"
    code += "; assert issubclass(C, L.Callback) and not [c for c in C.__mro__ if c.__module__.startswith('lightning.')]"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_lightning_accumulates():
    lightning = pytest.importorskip("lightning.pytorch")
    from costmodel.pytorch.lightning import CostCallback

    callback = CostCallback(show=Told())
    fit(lightning, network(), False, callback, accumulate_grad_batches=2)
    found = callback.watch.comparison
    assert found.measured.accumulates and found.measured.saved_bytes == found.predicted.saved_bytes


def trained_by_hugging_face(tmp_path, model, **options):
    """The callback after a short run of Hugging Face's Trainer."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from costmodel.pytorch.transformers import CostCallback

    callback = CostCallback(show=Told())
    images, labels = data()
    rows = [{"pixel_values": image, "labels": int(label)} for image, label in zip(images, labels)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=BATCH, max_steps=3, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="no", logging_strategy="no", **options,
    )  # fmt: skip
    transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[callback]).train()
    return callback


@pytest.mark.parametrize("optimizer, step", [("sgd", 1), ("adamw_torch", 2)])
def test_hugging_face(tmp_path, optimizer, step):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_labels=CLASSES, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    model = transformers.ResNetForImageClassification(config)
    callback = trained_by_hugging_face(tmp_path, model, optim=optimizer)
    (told,) = callback.options["show"]
    found = callback.watch.comparison
    assert told.startswith(f"costmodel: step {step} of ResNetForImageClassification, batch 4 at 32x32, as_is")
    assert is_predicted_but_for_the_loss(found)


def test_hugging_face_with_a_model_of_ones_own(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, pixel_values, labels=None):
            logits = self.net(pixel_values)
            return {"loss": cross_entropy(logits, labels) if labels is not None else None, "logits": logits}

    found = trained_by_hugging_face(tmp_path, Own(), optim="sgd").watch.comparison
    assert is_predicted_but_for_the_loss(found) and found.name == "Own"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("library, words", [
    ("lightning", "Lightning, which is not installed: pip install lightning"),
    ("transformers", "Hugging Face's Trainer, which is not installed: pip install transformers accelerate"),
])  # fmt: skip
def test_without_the_package_it_says_so(library, words):
    code = f"""
import sys
for name in ("lightning", "pytorch_lightning", "transformers"):
    sys.modules[name] = None
from costmodel import CostmodelError
try:
    import costmodel.pytorch.{library}
except CostmodelError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"CostCallback is for {words}\n"


@pytest.mark.slow
def test_the_page_about_training_runs(tmp_path):
    """The code of docs/training.md, block after block in one program, as far as its packages are installed."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)
    have = [block for block in blocks if all(find_spec(name) for name in LIBRARIES if f"import {name}\n" in block)]
    start = "from costmodel.frontends.modules.imports import imported\nimported('torchvision.models')\n"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start + "\n".join(have)], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert len(blocks) == 4
    assert run.stdout.startswith("fits: MobileNetV2, blocks:3, batch 8 of 3x224x224, torch peaks at ")
    assert run.stdout.count("costmodel: step ") == len(have) - 1 >= 1
    shown = (ROOT / "docs" / "training.md").read_text().partition("saved for backward")[2].split()[:3]
    assert shown == run.stdout.partition("saved for backward")[2].split()[:3]  # the figures on the page
