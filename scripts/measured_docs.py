"""Tables and sentences of documents on speed and memory, from the rows of `gcp-bench` in results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gcp_repro.bench.memory import kept_bytes
from gcp_repro.metalayers import build_meta_layer

RESULTS = Path(__file__).parents[1] / "results"
PAPER = ((7, 7), (13, 13), (14, 14))
"""Heights and widths of the paper's features."""
BATCHES = (10, 32, 128)
SHARES = ("data", "transfer", "forward", "meta_layer", "backward", "optimiser", "diagnostics", "other")


def rows_of(name: str) -> pd.DataFrame:
    """Of a file in results."""
    return pd.read_csv(RESULTS / name, keep_default_na=False, na_values=[""])


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def only(rows: pd.DataFrame, **values: object) -> pd.Series:
    """The row with these values.

    Raises:
        ValueError: There is none, or more than one.
    """
    for column, value in values.items():
        rows = rows[rows[column] == value]
    if len(rows) != 1:
        raise ValueError(f"one row is needed with {values}; there are {len(rows)}")
    return rows.iloc[0]


def later_table() -> str:
    """Milliseconds an image of the layers of later work, and of a covariance that is shrunk, beside svd_lyapunov."""
    rows = rows_of("layers_later.csv")
    layers = list(dict.fromkeys(rows.loc[rows["origin"] == "gcp_repro", "layer"]))
    return markdown(
        ["layer", "7x7", "13x13"],
        (
            [f"`{layer.replace(':', ' ')}`", *(_per_image(only(rows, layer=layer, height=height)) for height in (7, 13))]
            for layer in layers
        ),
    )


def growth_table() -> str:
    """Milliseconds for forward and backward by batch, channels and positions."""
    rows = rows_of("layers_growth.csv")
    layers = (("svd_lyapunov", "gram"), ("isqrt_cov", "gram"), ("svd_pade", "gram"), ("svd_pade", "dense"))
    shapes = rows[["batch", "channels", "height", "width"]].drop_duplicates().itertuples(index=False)
    return markdown(
        ["batch, C, N", *(name if route == "gram" else f"{name}, {route}" for name, route in layers)],
        (
            [
                f"{shape.batch}, {shape.channels}, {shape.height * shape.width}",
                *(f"{1e3 * only(rows, layer=name, route=route, **shape._asdict())['total_min']:,.1f}" for name, route in layers),
            ]
            for shape in shapes
        ),
    )


def steps_table() -> str:
    """Where the time of a training step goes, in percent."""
    rows = []
    for row in rows_of("train_steps.csv").to_dict("records"):
        seconds, memory = f"{row['step_seconds']:.2f}", f"{row['memory_mib']:,.0f}"
        rows.append([row["experiment"].partition("_")[0], row["meta_layer"], seconds, *_shares(row), memory])
    return markdown(["network", "layer", "s a step", *_share_names(), "MiB"], rows)


def _shares(row: Mapping[Any, Any]) -> Iterable[str]:
    return (f"{100 * row[f'{part}_seconds'] / row['step_seconds']:.1f}" for part in SHARES)


def _share_names() -> Iterable[str]:
    return (part.replace("_", "-") for part in SHARES)


def peers_table() -> str:
    """How many times faster our layers are than DifferentiableSVD's, and how many times less memory they take."""
    rows = rows_of("layers_ratios.csv")
    pairs = rows.loc[rows["reference_origin"] == "peer", ["layer", "route", "reference"]].drop_duplicates()

    def cell(pair: tuple[str, str, str], size: tuple[int, int]) -> str:
        row = only(rows, **dict(zip(("layer", "route", "reference"), pair, strict=True)), height=size[0])
        return f"{row['total_ratio_median']:.1f} ({row['memory_ratio']:.1f})"

    listed = sorted(pairs.itertuples(index=False, name=None), key=lambda pair: (pair[1] != "gram", pair[2] != "SVD_Pade"))
    return markdown(
        ["layer, route", "beside", *_sizes(PAPER)],
        ([f"`{pair[0]}`, {pair[1]}", pair[2], *(cell(pair, size) for size in PAPER)] for pair in listed),
    )


def kept_table() -> str:
    """MiB an image of 256 channels that the graph of a layer holds: counted here, the same on every machine."""
    layers: dict[str, tuple[str, dict[str, str]]] = {
        "`svd_lyapunov` and the other layers of the gram route": ("svd_lyapunov", {}),
        "the same, `dtype=mixed`": ("svd_lyapunov", {"dtype": "mixed"}),
        "`svd_lyapunov`, dense": ("svd_lyapunov", {"route": "dense"}),
        "`improved_bcnn`": ("improved_bcnn", {}),
        "`bcnn`": ("bcnn", {}),
    }
    features = {size: torch.rand(2, 256, *size, requires_grad=True) for size in PAPER}
    return markdown(
        ["layer", *_sizes(PAPER)],
        (
            [words, *(f"{kept_bytes(build_meta_layer(name, **options), features[size]) / 2**20:.2f}" for size in PAPER)]
            for words, (name, options) in layers.items()
        ),
    )


def limits_table() -> str:
    """Times of the limit, gram route, float64."""
    rows = rows_of("layers_precision.csv")
    rows = rows[(rows["origin"] == "gcp_repro") & (rows["dtype"] == "float64") & (rows["accuracy"] == "standard")]
    layers = ("svd_lyapunov", "isqrt_cov", "svd_pade")
    return _by_size_and_batch(
        "layer", {f"`{name}`": rows[rows["layer"] == name] for name in layers}, lambda row: row["times_limit_median"]
    )


def precision_table() -> str:
    """Time of svd_lyapunov beside itself with other options, in the same rounds."""
    rows = rows_of("layers_precision_ratios.csv")
    rows = rows[(rows["layer"] == "svd_lyapunov") & (rows["reference"] == "svd_lyapunov")]
    columns = ["dtype", "accuracy", "reference_dtype", "reference_accuracy"]
    pairs = {
        "`dtype=mixed` beside `float64`": ("mixed", "standard", "float64", "standard"),
        "`accuracy=high` beside `standard`": ("float64", "high", "float64", "standard"),
        "`dtype=mixed accuracy=high` beside `dtype=float64 accuracy=high`": ("mixed", "high", "float64", "high"),
    }
    chosen = {words: rows[(rows[columns] == list(values)).all(axis=1)] for words, values in pairs.items()}
    return _by_size_and_batch("options", chosen, lambda row: 1 / row["total_ratio_median"])


def gpu_layers_table() -> str:
    """Milliseconds for forward and backward of a batch on a GPU, beside the limit."""
    rows = rows_of("gpu/layers.csv")
    rows = rows[(rows["origin"] == "gcp_repro") & (rows["dtype"].isna() | (rows["dtype"] == "float64"))].fillna({"route": ""})
    decomposing = ("svd_lyapunov", "mpn_cov", "svd_trunc", "svd_taylor", "svd_pade", "svd_newton")
    layers = [("isqrt_cov", "gram"), *((name, "gram") for name in decomposing)]
    layers += [("isqrt_cov", "dense"), ("svd_lyapunov", "dense"), ("svd_pade", "dense"), ("bcnn", "")]
    columns = [(128, height) for height, _ in PAPER] + [(10, height) for height, _ in PAPER]

    def cell(layer: str, route: str, batch: int, height: int) -> str:
        row = only(rows, layer=layer, route=route, batch=batch, height=height)
        beside = "" if pd.isna(row["times_limit_median"]) else f" ({row['times_limit_median']:.2f})"
        return f"{1e3 * row['total_min']:.1f}{beside}"

    first, *others = (f"{batch} images, {height}x{height}" for batch, height in columns)
    named = ((f"`{layer}`{f', {route}' if route else ''}", layer, route) for layer, route in layers)
    return markdown(["layer", first, *others], ([words, *(cell(*own, *column) for column in columns)] for words, *own in named))


def gpu_peers_table() -> str:
    """How many times faster our layers are than DifferentiableSVD's on a GPU."""
    rows = rows_of("gpu/peer_ratios.csv")
    rows = rows[rows["reference_origin"] == "peer"]
    pairs = rows[["layer", "route", "reference"]].drop_duplicates().itertuples(index=False)

    def cells(pair: Any) -> Iterable[str]:
        for height, _ in PAPER[:2]:
            row = only(rows, **pair._asdict(), height=height)
            yield f"{row['total_ratio_median']:.1f} ({row['memory_ratio']:.1f})"

    listed = ([f"`{pair.layer}`, {pair.route}", pair.reference, *cells(pair)] for pair in pairs)
    return markdown(["layer, route", "beside", *_sizes(PAPER[:2])], listed)


def gpu_steps_table() -> str:
    """Where the time of a training step goes on a GPU, in percent."""
    rows = rows_of("gpu/train_steps.csv").sort_values(["backbone", "precision"], ascending=[False, False], kind="stable")
    listed = []
    for row in rows.to_dict("records"):
        times = f"{1e3 * row['step_seconds']:.1f}", f"{row['images_per_second']:,.0f}"
        about = f"{row['experiment'].partition('_')[0]}, {row['batch_size']}", row["precision"], row["meta_layer"]
        listed.append([*about, *times, *_shares(row), f"{row['memory_mib']:,.0f}"])
    return markdown(["network, batch", "precision", "layer", "ms a step", "images/s", *_share_names(), "MiB"], listed)


def gpu_decompositions_table() -> str:
    """Milliseconds for the decompositions of a batch of Gram matrices, in float64, where they run."""
    rows = rows_of("gpu/decompositions.csv")
    ways = {"eigh": "`eigh`, torch 2.11", "host": "`eigh` on 16 cores", "gesvda": "`gesvda`", "syev_batched": "`syevBatched`"}
    sizes = rows[["batch", "size"]].drop_duplicates().sort_values(["batch", "size"]).itertuples(index=False, name=None)
    return markdown(
        ["batch, size", *ways.values()],
        (
            [
                f"{batch}, {size}",
                *(f"{only(rows, way=way, dtype='float64', batch=batch, size=size)['milliseconds']:.1f}" for way in ways),
            ]
            for batch, size in sizes
        ),
    )


def gpu_decoding_table() -> str:
    """Images a second that reach a GPU, by who decodes them and the number of workers."""
    rows = rows_of("gpu/decoding.csv")
    return markdown(
        ["`data.decode_on`", "workers", "images/s"],
        ([row.decode_on, str(row.workers), f"{row.images_per_second:,}"] for row in rows.itertuples()),
    )


def speed_sentences() -> str:
    """What README.md says of speed: the peer, then the limit, which were measured on different machines."""
    ratios, times = rows_of("layers_ratios.csv"), rows_of("layers_precision.csv")
    beside = ratios[(ratios["route"] == "gram") & (ratios["reference"] == "SVD_Pade")]
    speed, memory = beside["total_ratio_median"], beside["memory_ratio"]
    exact = times[(times["origin"] == "gcp_repro") & (times["dtype"] == "float64") & (times["accuracy"] == "standard")]
    low, high = exact["times_limit_median"].min(), exact["times_limit_median"].max()
    first = (
        f"At the paper's shapes and its batch of {_the_one(beside, 'batch')}, with {_the_one(beside, 'threads')} threads, the "
        f"gram route's SVD layers were {speed.min():.0f} to {speed.max():.0f} times faster than DifferentiableSVD's SVD_Pade "
        f"and took {memory.min():.1f} to {memory.max():.1f} times less memory (version {_the_one(beside, 'gcp_repro')} on an "
        f"{_maker(beside)} CPU: [performance](docs/performance.md#results))."
    )
    second = (
        f"Later, with memory that threads keep, the layers took {low:.1f} to {high:.1f} times as long as the matrix products "
        f"and the decomposition that they cannot do without (one thread of an {_maker(exact)} CPU, batches of {BATCHES[0]} to "
        f"{BATCHES[-1]})."
    )
    gpu, alone = rows_of("gpu/layers.csv"), rows_of("gpu/decompositions.csv")
    own = gpu[
        (gpu["origin"] == "gcp_repro") & (gpu["route"] == "gram") & (gpu["dtype"] == "float64") & (gpu["layer"] != "isqrt_cov")
        & (gpu["batch"] == BATCHES[-1])
    ]  # fmt: skip
    peers = rows_of("gpu/peer_ratios.csv")
    peer = peers[(peers["route"] == "gram") & (peers["reference"] == "SVD_Pade")]
    small, large = (only(peer, height=height)["total_ratio_median"] for height in (7, 13))
    slow, fast = (only(alone, way=way, dtype="float64", batch=128, size=168)["milliseconds"] for way in ("eigh", "gesvda"))
    third = (
        f"On an {_the_one(own, 'device')} the gram route's SVD layers take {1e3 * own['total_min'].min():.0f} to "
        f"{1e3 * own['total_min'].max():.0f} ms for {_the_one(own, 'batch')} images at 7x7 to 14x14, and `svd_pade` is "
        f"{small:.0f} times faster than SVD_Pade at 7x7, {large:.0f} at 13x13: whole batches are decomposed at a time, "
        f"{slow / fast:.0f} times as fast as by the `eigh` of torch {_the_one(own, 'torch')} at 13x13 on an "
        f"{_the_one(alone, 'device')} ([performance](docs/performance.md#on-a-gpu))."
    )
    return f"- {first}\n- {second}\n- {third}\n"


def _the_one(rows: pd.DataFrame, column: str) -> object:
    (value,) = rows[column].unique()
    return value


def _maker(rows: pd.DataFrame) -> str:
    return str(_the_one(rows, "cpu")).partition("(")[0].split()[0]


def _per_image(row: pd.Series) -> str:
    return f"{1e3 * row['total_min'] / row['batch']:.1f}"


def _sizes(sizes: Iterable[tuple[int, int]]) -> list[str]:
    return [f"{height}x{width}" for height, width in sizes]


def _by_size_and_batch(name: str, rows: dict[str, pd.DataFrame], value: Callable[[pd.Series], float]) -> str:
    """A line for each, a column a size, and in a cell the batches."""

    def cell(own: pd.DataFrame, height: int) -> str:
        return ", ".join(f"{value(only(own, batch=batch, height=height)):.2f}" for batch in BATCHES)

    first, *others = _sizes(PAPER)
    head = [name, f"{first}: {', '.join(map(str, BATCHES))} images", *others]
    return markdown(head, ([words, *(cell(own, height) for height, _ in PAPER)] for words, own in rows.items()))
