import pytest
import torch

from gcp_repro.runs.integrity import damage


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "state_dict": {"weight": torch.arange(500.0)}}, path)
    return path


def test_a_whole_file_has_no_damage(checkpoint):
    assert damage(checkpoint) is None


def test_every_flipped_bit_of_the_content_is_found(checkpoint):
    """`torch.load` finds none of them."""
    content = checkpoint.read_bytes()
    start = content.index(torch.arange(500.0).numpy().tobytes())
    for place in (start, start + 777, start + 1999):
        for bit in (1, 128):
            checkpoint.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            assert "has changed since it was written (CRC-32)" in damage(checkpoint)
            assert torch.load(checkpoint, weights_only=True)["epoch"] == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: b"", "the file is empty (0 bytes)"),
        (lambda content: content[: len(content) // 2], "no whole file of torch.save"),
        (lambda content: content[:-1], "no whole file of torch.save"),
        (lambda content: b"text", "no whole file of torch.save"),
        (lambda content: bytes(len(content)), "no whole file of torch.save"),
    ],
)
def test_torn_and_foreign_files_are_found(checkpoint, change, words):
    checkpoint.write_bytes(change(checkpoint.read_bytes()))
    assert words in damage(checkpoint)
