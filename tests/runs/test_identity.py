import re

import pytest
from omegaconf import open_dict

from gcp_repro.errors import OptionError
from gcp_repro.runs.identity import config_hash, run_directory, run_name, setting_of


def test_the_directory_tells_what_is_in_it(compose_train):
    config = compose_train("meta_layer=svd_pade", "meta_layer.route=dense", "protocol=hybrid", "paths.runs_dir=/runs")
    assert re.fullmatch(r"/runs/digits/svd_pade-float64-dense-hybrid-seed0-[0-9a-f]{8}", config.paths.run_dir)
    assert re.fullmatch(r"gap-standalone-seed2-[0-9a-f]{8}", run_name(compose_train("meta_layer=gap", "seed=2")))


def test_runs_go_where_the_environment_says(compose_train, monkeypatch):
    assert compose_train().paths.run_dir.startswith("runs/digits/")
    monkeypatch.setenv("GCP_RUNS_DIR", "/elsewhere")
    assert compose_train().paths.run_dir.startswith("/elsewhere/digits/")


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "optimizer.lr=0.2", "schedule.epochs=16", "meta_layer.num_iterations=6", "data.batch_size=16",
        "trainer.precision=bf16-mixed", "trainer.limit_train_batches=2", "gradient_clip_norm=5", "on_nonfinite_step=skip",
        "protocol=hybrid", "lr_for_batch_size=64",
    ],
)  # fmt: skip
def test_what_changes_the_result_changes_the_hash(compose_train, override):
    assert config_hash(compose_train(override)) != config_hash(compose_train())


@pytest.mark.parametrize(
    "override",
    [
        "paths.runs_dir=/x", "paths.data_dir=/y", "logger=wandb", "trainer.accelerator=cpu", "trainer.num_threads=3",
        "trainer.progress_bar=false", "data.num_workers=4", "data.pin_memory=true", "meta_layer=isqrt_cov",
    ],
)  # fmt: skip
def test_what_does_not_change_the_result_does_not_change_the_hash(compose_train, override, monkeypatch):
    expected = config_hash(compose_train())
    monkeypatch.setenv("GCP_RUNS_DIR", "/elsewhere")
    assert config_hash(compose_train(override)) == expected


@pytest.mark.parametrize("name", ["..", ".", "a/b", ".hidden", "../x"])
def test_an_experiment_stays_in_its_folder(compose_train, name):
    with pytest.raises(
        OptionError, match=r"experiment_name needs letters, digits, .* got '.*': it names a folder in paths.runs_dir"
    ):
        run_directory(compose_train(f"experiment_name='{name}'"))
    assert run_directory(compose_train("experiment_name=my.study-2")).path.parent.name == "my.study-2"


SAME_RUN = [
    "data=imagenet data.root=/data/x", "data=imagenet data.root=/scratch/job1/x", "data=imagenet paths.data_dir=/data",
    "data=imagenet data.index_dir=/tmp/i", "data=imagenet data.eval_batch_size=7", "data=imagenet data.num_workers=2",
    "data=imagenet callbacks=none", "data=imagenet callbacks=all", "data=imagenet callbacks.condition_number.every_n_steps=3",
    "data=imagenet trainer=ddp trainer.devices=8", "data=imagenet trainer.num_nodes=2",
    "data=imagenet trainer.images_per_device=16",
    "data=imagenet trainer.max_time=00:01:00:00", "data=imagenet +trainer.max_steps=3", "data=imagenet logger=wandb",
    "data=imagenet paths.runs_dir=/elsewhere", "data=imagenet compile=true", "data=imagenet compile={mode:max-autotune}",
    "data=imagenet trainer=fsdp", "data=imagenet trainer.sync_batchnorm=true",
]  # fmt: skip


@pytest.mark.parametrize("overrides", SAME_RUN)
def test_places_and_means_do_not_make_another_run(compose_train, overrides):
    assert config_hash(compose_train(*overrides.split())) == config_hash(compose_train("data=imagenet"))


def test_entries_that_say_nothing_are_left_out(compose_train):
    """So that runs from before there were such entries keep their names."""
    config = compose_train()
    expected = config_hash(config)
    with open_dict(config):
        del config.lr_for_batch_size
    assert config_hash(config) == expected


def test_streams_that_are_kept_elsewhere_are_the_same(compose_train):
    stream = ["data=imagenet_stream", "data.train_urls=[a.tar]", "data.val_urls=[b.tar]"]
    assert config_hash(compose_train(*stream)) == config_hash(compose_train(*stream, "data.cache_dir=/tmp/shards"))
    assert config_hash(compose_train(*stream)) != config_hash(compose_train(*stream, "data.fraction=0.5"))


def test_two_folders_of_own_images_are_told_apart_by_their_names(compose_train):
    flowers, moved, pets = (
        config_hash(compose_train("data=image_folder", f"data.root={root}"))
        for root in ("/data/flowers", "/scratch/1/flowers", "/data/pets")
    )
    assert flowers == moved != pets


@pytest.mark.parametrize("root", [".", "../mine", "./", "x/.."])
def test_a_folder_has_its_name_however_it_is_written(compose_train, tmp_path, monkeypatch, root):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert compose_train("data=image_folder", f"data.root={root}").data.name == "mine"


def test_callbacks_that_do_more_than_look_on_make_another_run(compose_train):
    plain = config_hash(compose_train())
    own = "+callbacks.own={_target_: my.package.Callback, strength: 2}"
    assert config_hash(compose_train(own)) != plain
    fine_tuned = compose_train(
        "data=birds", "+initial_weights@callbacks.initial_weights=matching_run", "callbacks.initial_weights.run.seed=3"
    )
    assert config_hash(fine_tuned) != config_hash(compose_train("data=birds"))


def test_every_diagnostic_only_looks_on(compose_train):
    """Whatever stands in gcp_repro.training.diagnostics, those that are still to be written included."""
    added = "+callbacks.trace={_target_: gcp_repro.training.diagnostics.trace.Trace, every_n_steps: 2}"
    assert config_hash(compose_train(added)) == config_hash(compose_train("callbacks=none")) == config_hash(compose_train())


def test_a_value_counts_whether_it_is_written_or_follows_from_another(compose_train):
    follows = compose_train("protocol=hybrid", "meta_layer=svd_pade", "meta_layer.route=dense")
    written = compose_train("protocol=hybrid", "meta_layer=svd_pade", "meta_layer.route=dense", "protocol.initial.route=dense")
    assert config_hash(follows) == config_hash(written)


@pytest.mark.parametrize(
    "overrides",
    [
        "seed=3",
        "meta_layer=svd_pade",
        "meta_layer.num_iterations=7",
        "protocol=hybrid",
        "protocol=hybrid protocol.placement=added",
    ],
)
def test_seed_layer_and_protocol_are_no_part_of_the_setting(compose_train, overrides):
    assert setting_of(compose_train(*overrides.split())) == setting_of(compose_train())


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("optimizer.lr=0.2", "optimizer.lr"), ("data.batch_size=16", "data.batch_size"),
        ("schedule.epochs=16", "schedule.epochs"), ("data.split=validation", "data.split"),
        ("data.train_size=100", "data.train_size"), ("trainer.precision=bf16-mixed", "trainer.precision"),
        ("data.split_seed=4", "data.split_seed"), ("model.backbone.stages.1.channels=9", "model.backbone.stages[1].channels"),
        ("data.seed=4", "data.seed"),
    ],
)  # fmt: skip
def test_everything_else_is(compose_train, override, name):
    plain, changed = setting_of(compose_train()), setting_of(compose_train(override))
    assert {key for key in {*plain, *changed} if plain.get(key) != changed.get(key)} == {name}
