import contextlib

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from gcp_repro.data.augmentation import Augmentation
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.tiny import Tiny, write_tiny
from gcp_repro.errors import OptionError, UnknownNameError

EVERYTHING = {"rand_augment": 9, "random_erasing": 0.5, "mix": "both", "mix_alpha": 0.8}


@pytest.fixture
def root(tmp_path):
    return write_tiny("image_folder", tmp_path / "x", Tiny(classes=3, train=6, val=2, size=(24, 20)))


def test_nothing_is_the_default():
    def transform(image):
        return image

    assert Augmentation().after(transform) is transform
    images, labels = torch.rand(4, 3, 2, 2), torch.arange(4)
    assert Augmentation().mixed(images, labels, 4, (0,)) == (images, labels)


def test_rand_augment_and_erasing_change_bytes_and_repeat():
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    erase = Augmentation(random_erasing=1.0).after(lambda image: image)
    both = Augmentation(rand_augment=9, random_erasing=1.0).after(lambda image: image)
    for transform in (erase, both):
        results = []
        for _ in range(2):
            torch.manual_seed(3)
            results.append(transform(image))
        assert torch.equal(*results)
        assert results[0].dtype == torch.uint8
        assert not torch.equal(results[0], image)
    torch.manual_seed(3)
    erased = erase(image)
    assert (erased[erased != image] == 0).all()


@pytest.mark.parametrize("mix", ["mixup", "cutmix", "both"])
def test_mixed_labels_are_the_shares_and_follow_the_key_alone(mix):
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    augmentation = Augmentation(mix=mix)
    mixed, shares = augmentation.mixed(images, torch.arange(4), 4, (0, 1, 2, 3))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ torch.arange(4.0))  # an image's level is its label
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = augmentation.mixed(images, torch.arange(4), 4, (0, 1, 2, 3))
    assert torch.equal(again[0], mixed)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augmentation.mixed(images, torch.arange(4), 4, (0, 1, 3, 3))[1], shares)


class Recorder(LightningModule):
    def __init__(self, stop_after=None, checkpoint=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.sums, self.stop_after, self.checkpoint = [], stop_after, checkpoint

    def training_step(self, batch, batch_idx):
        self.sums.append((batch[0].double().sum().item(), batch[1].tolist()))
        return self.weight * batch[0].mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if len(self.sums) == self.stop_after:
            self.trainer.save_checkpoint(self.checkpoint)
            raise SystemExit

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*val_dataloader.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
def test_resuming_in_mid_epoch_is_exact_with_all_of_it(root, tmp_path):
    def fit(stop_after=None, checkpoint=None):
        module = Recorder(stop_after, tmp_path / "stopped.ckpt")
        options = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False, "enable_checkpointing": False}
        trainer = Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, use_distributed_sampler=False, **options)
        data = ImageFilesDataModule("image_folder", str(root), batch_size=4, image_size=16, augmentation=EVERYTHING)
        with contextlib.suppress(SystemExit):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
        return module.sums

    whole = fit()
    assert len({labels[0][0] for _, labels in whole}) > 3  # the shares differ from batch to batch
    assert fit(stop_after=7) + fit(checkpoint=tmp_path / "stopped.ckpt") == whole


def test_evaluation_is_not_augmented(root):
    module = ImageFilesDataModule("image_folder", str(root), image_size=16, augmentation=EVERYTHING)
    plain = ImageFilesDataModule("image_folder", str(root), image_size=16)
    for data in (module, plain):
        data.setup("fit")
    batches = [next(iter(data.val_dataloader())) for data in (module, plain)]
    assert torch.equal(batches[0][0], batches[1][0])


def test_wrong_options():
    with pytest.raises(UnknownNameError, match=r"no way data\.augmentation\.mix 'mix'; nearest: 'mixup'"):
        Augmentation(mix="mix")
    for options in ({"rand_augment": 31}, {"random_erasing": 1.5}, {"mix_alpha": 0}):
        with pytest.raises(OptionError, match="needs rand_augment from 0 to 30, random_erasing from 0 to 1 and a pos"):
            Augmentation(**options)
