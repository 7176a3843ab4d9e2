"""Every module has a test file of its own, or a reason why not."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT / "gcp_repro") for path in (ROOT / "gcp_repro").rglob("*.py") if path.name != "__init__.py"
)

ELSEWHERE = {
    "bench/image_pipelines.py": "tests/bench/test_data.py: the loaders that are timed",
    "bench/layer_records.py": "tests/bench/test_layers.py: the rows of a whole run",
    "bench/layer_tables.py": "tests/bench/test_layers.py: the tables of a whole run",
    "bench/options.py": "tests/bench/test_layers.py: in one of the two commands that share them",
    "bench/step_clock.py": "tests/bench/test_train.py: the parts of a step",
    "cli/evaluate.py": "tests/cli/test_commands.py: a thin entry point, run as a command",
    "cli/sweep_account.py": "tests/cli/test_sweep.py: the account of sweeps that are run as commands",
    "cli/sweep_jobs.py": "tests/cli/test_sweep.py: jobs of sweeps that are run as commands",
    "cli/train.py": "tests/cli/test_commands.py: a thin entry point, run as a command",
    "cli/printing.py": "tests/cli/test_tables.py: a plan whose reader is gone",
    "cli/subcommands.py": "tests/cli/test_bench.py: what the commands with subcommands share",
    "cli/values.py": "tests/cli/test_messages.py: what a user reads after a mistake",
    "data/array_files.py": "tests/data/test_arrays.py: files of the sets that are read",
    "data/layouts/lacking.py": "tests/data/test_finding.py: words for what is not there",
    "data/encoded_images.py": "tests/data/test_image_files.py: the part that its data modules share",
    "data/layouts/extras.py": "tests/data/layouts/test_imagenet.py: what is said of an absent library",
    "data/layouts/files.py": "tests/data/layouts/test_cub.py: lists, with the layouts that read them",
    "data/layouts/numbering.py": "tests/data/layouts/test_forms.py: every form of a data set on disk",
    "data/layouts/parquet.py": "tests/data/layouts/test_forms.py: every form of a data set on disk",
    "data/layouts/shards.py": "tests/data/layouts/test_forms.py: every form of a data set on disk",
    "data/layouts/split_names.py": "tests/data/layouts/test_forms.py: every form of a data set on disk",
    "data/layouts/splits.py": "tests/data/layouts/test_forms.py: every form of a data set on disk",
    "data/open_options.py": "tests/data/test_opening.py: the options, where data sets are opened",
    "data/storage.py": "tests/data/test_image_set.py: folders, links and names, below the sets that list them",
    "data/tiny/command.py": "tests/cli/test_data.py: as a command",
    "data/tiny/writers.py": "tests/data/test_tiny.py: what is written is read",
    "linalg/machinery/autograd.py": "tests/metalayers/test_derivatives.py: with the layers, by every transform",
    "linalg/newton_schulz.py": "tests/metalayers/test_values.py: isqrt_cov by products on route dense",
    "linalg/machinery/onnx_export.py": "tests/export/test_onnx.py: every exporter of torch",
    "linalg/machinery/operator.py": "tests/metalayers/test_forward_mode.py: tangents that follow from gradients",
    "linalg/published.py": "tests/metalayers/test_values.py: every remedy on route dense",
    "linalg/recomputed.py": "tests/metalayers/test_values.py: with the layers by products",
    "linalg/spectral_function.py": "tests/linalg/machinery/test_parts.py: looking up and registering",
    "metalayers/average_pooling.py": "tests/metalayers/test_values.py: one line",
    "metalayers/base.py": "tests/metalayers/test_state.py: the state of a layer; the rest with every layer",
    "metalayers/distributed.py": "tests/metalayers/test_kinds_of_tensors.py: in a process group",
    "metalayers/finish.py": "tests/metalayers/test_values.py: what is done to a matrix last, with the layers",
    "metalayers/matrix_pooling.py": "tests/metalayers/test_values.py: with the layers by steps",
    "runs/directory.py": "tests/runs/test_outcome.py: names of files, which runs write",
    "runs/durations.py": "tests/cli/test_status.py: the time that is left; the rest by the example",
    "runs/exit_codes.py": "tests/cli/test_commands.py: numbers, which commands end with",
    "runs/finding.py": "tests/paper/store/test_results.py: folders with runs and without, as they are gathered",
    "runs/interruption.py": "tests/training/test_resume.py: runs that are stopped",
    "runs/status.py": "tests/cli/test_status.py: rows of directories in every state",
    "runs/sweeps.py": "tests/cli/test_sweep.py: the files of sweeps that are run as commands",
    "runs/processes.py": "tests/training/test_several_processes.py: ranks, in real processes",
    "runs/states.py": "tests/runs/test_lock.py: states of real directories",
    "training/layer_configs.py": "tests/cli/test_plugins.py: in every command",
    "training/record/mlflow_and_trackio.py": "tests/training/record/test_endings.py: runs of each, stopped and resumed",
    "training/module/metrics.py": "tests/training/module/test_gcp_module.py: the metrics of a training step",
    "training/replay.py": "tests/training/module/test_nonfinite.py: the batch that was saved",
    "training/loop/stopping.py": "tests/training/test_resume.py: runs that are stopped",
}
"""Modules without a file of their own: where they are tested, and what by."""


def _test_file(module: Path) -> Path:
    return ROOT / "tests" / module.with_name(f"test_{module.name}")


def test_every_module_has_a_test_file():
    missing = [str(module) for module in MODULES if not _test_file(module).exists() and str(module) not in ELSEWHERE]
    assert not missing, f"write tests/.../test_NAME.py for {missing}, or say in ELSEWHERE where they are tested"


def test_reasons_are_of_today():
    """Modules that exist and have no file of their own, and tests that exist."""
    for name, reason in ELSEWHERE.items():
        assert Path(name) in MODULES, f"{name} is gone: take it out"
        assert not _test_file(Path(name)).exists(), f"{name} has a test file by now: take it out"
        assert (ROOT / reason.partition(":")[0]).exists(), f"{name}: no such test, {reason}"
