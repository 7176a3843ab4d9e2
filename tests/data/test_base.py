import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import TensorDataset

from gcp_repro.data.base import ImageDataModule, normalize
from gcp_repro.errors import OptionError
from tests.fakes.stopping_module import StoppingModule


class Numbered(ImageDataModule):
    """Images whose label is their row."""

    name = "numbered"
    num_classes = 30
    in_channels = 1
    mean = (0.5,)
    std = (0.25,)

    def make_dataset(self, split):
        rows = 22 if split == "train" else 13
        return TensorDataset(torch.full((rows, 1, 2, 2), 255, dtype=torch.uint8), torch.arange(rows))


class Recorder(StoppingModule):
    """Takes down the labels that it is shown."""

    def __init__(self, stop_at=None):
        super().__init__(stop_at)
        self.seen, self.evaluated = [], []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        assert images.unique().tolist() == [2.0]
        self.seen.append((self.current_epoch, labels.tolist()))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.evaluated.append(batch[1])


def trainer(tmp_path, **options):
    return pl.Trainer(
        max_epochs=3, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, default_root_dir=tmp_path, **options,
    )  # fmt: skip


def fit(tmp_path, module, *, ckpt_path=None, **options):
    checkpoints = pl.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer(tmp_path, callbacks=checkpoints).fit(
        module, datamodule=Numbered(batch_size=4, seed=5, **options), ckpt_path=ckpt_path
    )


quiet = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning",
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:.*is not empty:UserWarning",
)


@quiet
@pytest.mark.parametrize("num_workers", [0, 2])
def test_lightning_resumes_in_mid_epoch_exactly(tmp_path, num_workers):
    whole = Recorder()
    fit(tmp_path / "whole", whole)
    assert len(whole.seen) == 3 * 6

    first, second = Recorder(stop_at=9), Recorder()
    with pytest.raises(InterruptedError):
        fit(tmp_path, first, num_workers=num_workers)
    fit(tmp_path, second, ckpt_path=tmp_path / "stopped.ckpt", num_workers=num_workers)
    assert first.seen + second.seen == whole.seen


@quiet
def test_lightning_resumes_at_the_end_of_an_epoch(tmp_path):
    whole, resumed = Recorder(), Recorder()
    fit(tmp_path, whole)
    fit(tmp_path, resumed, ckpt_path=tmp_path / "epoch=0.ckpt")
    assert resumed.seen == whole.seen[6:]


@quiet
def test_evaluation_sees_every_image_once_in_order(tmp_path):
    for method in ("validate", "test"):
        module = Recorder()
        module.test_step = module.validation_step
        getattr(trainer(tmp_path), method)(module, datamodule=Numbered(eval_batch_size=5), verbose=False)
        assert torch.cat(module.evaluated).tolist() == list(range(13))


class Noisy(Numbered):
    """Augmented with torch's generator, as torchvision's transforms are."""

    def train_transform(self):
        return lambda image: image + torch.rand(1, 2, 2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_leaves_the_global_generators_alone(num_workers, generator_states):
    """Those of torch, numpy and Python, from which training draws its own numbers."""
    before = generator_states()
    data = Noisy(batch_size=8, num_workers=num_workers)
    data.setup("fit")
    (first, _), *_ = data.train_dataloader()
    assert first.unique().numel() > 8, "nothing was drawn"
    assert generator_states() == before


def test_batch_sizes():
    data = Numbered(batch_size=8)
    data.setup("fit")
    assert [len(labels) for _, labels in data.train_dataloader()] == [8, 8, 6]
    assert [len(labels) for _, labels in data.val_dataloader()] == [8, 5]


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("eval_batch_size", 0), ("num_workers", -1), ("seed", -3)])
def test_sizes_out_of_range_are_refused(option, value):
    with pytest.raises(OptionError, match=rf"{option} needs a whole number of at least \d; got {value}: change data.{option}"):
        Numbered(**{option: value})


def test_normalize_scales_bytes_and_floats_alike():
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (images.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert normalize(images, mean, std).dtype == torch.float32
    torch.testing.assert_close(normalize(images, mean, std).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(normalize(images.float() / 255, mean, std), normalize(images, mean, std))
