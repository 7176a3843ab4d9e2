import pytest
import torch

from gcp_repro.errors import OptionError, ShapeError
from gcp_repro.linalg.feature_layout import as_maps, as_positions, find_layout


def numbered(*shape):
    return torch.arange(float(torch.Size(shape).numel())).view(shape)


def test_every_layout_gives_the_same_positions():
    maps = numbered(2, 5, 3, 4)
    expected = maps.flatten(2)
    assert torch.equal(as_positions(maps, "nchw"), expected)
    assert torch.equal(as_positions(expected, "nchw"), expected)
    assert torch.equal(as_positions(maps.permute(0, 2, 3, 1), "nhwc"), expected)
    assert torch.equal(as_positions(expected.mT, "tokens"), expected)


MAPS = [(2, 64, 7, 7), (1, 2048, 7, 7), (2, 8, 8, 8), (1, 64, 64, 64), (2, 3, 224, 224), (2, 6, 5, 9), (1, 768, 7, 10)]
FLATTENED = [(8, 64, 49), (2, 256, 169), (2, 256, 196), (2, 2048, 144), (2, 6, 9), (2, 16, 64), (4, 5, 30), (2, 128, 256)]


@pytest.mark.parametrize("shape", [*MAPS, *FLATTENED, (2, 192, 196, 1), (1, 1, 1)])
def test_auto_reads_the_documented_form(shape):
    assert as_positions(torch.zeros(shape)).shape == (shape[0], shape[1], torch.Size(shape[2:]).numel())


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 197, 192), r"197 channels at 192 positions \(layout='nchw'\) or 197 tokens of 192 channels \(layout='tokens'\)"),
        ((2, 197, 1024), "197 tokens of 1024"),
        ((2, 49, 768), "49 tokens of 768"),
        ((2, 50, 768), "50 tokens of 768"),
        ((2, 196, 576), "196 tokens of 576"),
        ((2, 256, 1024), "256 tokens of 1024"),
        ((2, 16, 384), "16 tokens of 384"),
        ((1, 7, 7, 768), r"7 channels on a map of 7 x 768 \(layout='nchw'\) or 768 channels on a map of 7 x 7 \(layout='nhwc'\)"),
        ((1, 7, 10, 768), "768 channels on a map of 7 x 10"),
        ((1, 4, 4, 32), "32 channels on a map of 4 x 4"),
    ],
)
def test_auto_refuses_what_could_have_its_channels_last(shape, sizes):
    with pytest.raises(ShapeError, match=sizes):
        as_positions(torch.zeros(shape))


@pytest.mark.parametrize(
    ("features", "layout", "needed"),
    [
        (torch.zeros(2, 3), "auto", r"\(B, C, H, W\) or \(B, C, N\).*got torch.float32 \(2, 3\)"),
        (torch.zeros(2, 3, 4), "nhwc", r"\(B, H, W, C\) with.*got torch.float32 \(2, 3, 4\)"),
        (torch.zeros(2, 3, 4, 4), "tokens", r"\(B, N, C\) with.*got torch.float32 \(2, 3, 4, 4\)"),
        (torch.zeros(2, 0, 4), "nchw", r"got torch.float32 \(2, 0, 4\)"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), "auto", r"got torch.int64"),
        ([1.0], "auto", "must be a torch.Tensor; got list"),
        (torch.ones(2, 3, 4).to_sparse(), "auto", "must be a dense tensor of .*; got a torch.float32, torch.sparse_coo one"),
        (
            torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(2, 4)], layout=torch.jagged),
            "auto",
            "got a nested one: .* pool images .* one by one",
        ),
        (
            torch.ones(2, 3, 4).to(torch.float8_e4m3fn),
            "auto",
            r"got a torch.float8_e4m3fn, torch.strided one: .* to\(torch.float32\)",
        ),
    ],
)
def test_other_features_are_refused(features, layout, needed):
    with pytest.raises(ShapeError, match=needed):
        as_positions(features, layout)


def test_unknown_layout_is_refused():
    with pytest.raises(OptionError, match="layout must be one of auto, nchw, nhwc, tokens; got 'bhwc'"):
        as_positions(torch.zeros(2, 3, 4), "bhwc")


@pytest.mark.parametrize(
    ("shape", "channels", "layout"),
    [
        ((2, 64, 7, 7), 64, "nchw"),
        ((2, 64, 64, 64), 64, "nchw"),
        ((2, 7, 7, 64), 64, "nhwc"),
        ((2, 64, 49), 64, "nchw"),
        ((2, 197, 192), 192, "tokens"),
        ((2, 192, 197), 192, "nchw"),
    ],
)
def test_known_channels_tell_the_layout(shape, channels, layout):
    assert find_layout(shape, channels) == layout


@pytest.mark.parametrize(("shape", "channels"), [((2, 64, 64), 64), ((2, 64, 49), 63), ((2, 7, 7, 768), 512)])
def test_channels_in_both_places_or_none_are_refused(shape, channels):
    with pytest.raises(ShapeError, match=f"{shape[1]} second and {shape[-1]} last: set its attribute layout"):
        find_layout(shape, channels)


def test_maps_keep_their_sides_and_tokens_become_a_column():
    maps = numbered(2, 5, 3, 4)
    assert as_maps(maps, 5, "nchw") is maps
    assert torch.equal(as_maps(maps.permute(0, 2, 3, 1), 5, "nhwc"), maps)
    assert torch.equal(as_maps(maps.flatten(2).mT, 5, "auto"), maps.flatten(2).unsqueeze(-1))


def test_a_backbone_that_says_another_layout_is_contradicted_with_both_sizes():
    with pytest.raises(ShapeError, match=r"swin says 768 channels in layout 'nchw', dimension 1; .*\(1, 7, 7, 768\), 7 there"):
        as_maps(torch.zeros(1, 7, 7, 768), 768, "nchw", "swin")
