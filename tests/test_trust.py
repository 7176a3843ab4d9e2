import os
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from gcp_repro import configs
from gcp_repro.cli import evaluate as gcp_eval
from gcp_repro.cli import train as gcp_train
from gcp_repro.cli.importing import main as gcp_import
from gcp_repro.errors import OptionError
from gcp_repro.training.evaluate import evaluate
from gcp_repro.training.run import train
from gcp_repro.trust import FACTORIES, PACKAGES, TRUSTED_VARIABLE, UntrustedTargetError, check_targets
from tests.weights.foreign import foreign_alexnet

CONFIGS = Path(configs.__path__[0])


def config_with(target):
    return OmegaConf.create({"data": {"name": "x", "parts": [{"_target_": target}]}})


def shipped_targets():
    for path in sorted(CONFIGS.rglob("*.yaml")):
        stack = [yaml.safe_load(path.read_text())]
        while stack:
            node = stack.pop()
            if isinstance(node, dict):
                yield from ([node["_target_"]] if "_target_" in node else [])
            stack += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def test_every_configuration_of_this_package_is_trusted():
    targets = set(shipped_targets()) - {"gcp_repro.cli.sweep.Sweep"}  # Hydra's own callbacks are its own affair
    assert len(targets) > 15
    for target in targets:
        check_targets(config_with(target), "file")


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW", "torch.optim.lr_scheduler.StepLR", "torch.nn.Conv2d", "timm.optim.Lamb",
        "pytorch_lightning.callbacks.EarlyStopping", "pytorch_lightning.loggers.CSVLogger",
    ],
)  # fmt: skip
def test_parts_of_a_training_are_trusted(target):
    check_targets(config_with(target), "file")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("os.system", "of another package"),
        ("torch.hub.load", "of another package"),
        ("torch.load", "of another package"),
        ("numpy.load", "of another package"),
        ("joblib.load", "of another package"),
        ("builtins.eval", "of another package"),
        ("timm.create_model", "of another package"),
        ("timm.utils.ModelEma", "of another package"),
        ("torch.nnx.Module", "of another package"),
        ("gcp_repro", "of another package"),
        ("", "of another package"),
        (5, "no name"),
        (["torch.nn.Conv2d"], "no name"),
        ("gcp_repro.training.run.torch.hub.load", "an object of torch.hub"),
        ("torch.nn.modules.module.torch.load", "an object of torch.serialization"),
        ("torch.optim.optimizer.torch.hub.load", "an object of torch.hub"),
        ("timm.optim.lamb.torch.hub.load", "an object of torch.hub"),
        ("gcp_repro.errors.get_close_matches", "an object of difflib"),
        ("gcp_repro.training.run.Path", "an object of pathlib"),
        ("torch.nn.Module.__init__.__globals__.get", "a private part"),
        ("torch.nn.Module.state_dict", "none of these"),
        ("torch.nn.functional.relu", "none of these"),
        ("torch.nn.functional", "a module"),
        ("gcp_repro.runs.files.write_atomically", "none of these"),
        ("gcp_repro.weights.export_weights", "none of these"),
        ("gcp_repro.training.module.gcp_module.GCPModule.load_from_checkpoint", "an object of"),
        ("gcp_repro.runs.directory.RunDirectory", "none of these"),
    ],
)
def test_everything_else_is_refused(target, reason):
    with pytest.raises(
        UntrustedTargetError, match=rf"data\.parts\.0\._target_ in runs/x/config\.yaml, which .*{reason}.*: if you know what it"
    ):
        check_targets(config_with(target), "runs/x/config.yaml")


def test_the_documents_list_is_the_one_that_is_checked():
    text = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
    packages, besides = re.search(r"^- classes of (.*?);\n- besides: (.*?)\.$", text, flags=re.M | re.S).groups()
    assert set(re.findall(r"`(.+?)`", besides)) == FACTORIES
    lightning = {"pytorch_lightning.callbacks.", "pytorch_lightning.loggers."}
    assert {f"{name}." for name in re.findall(r"`(.+?)`", packages)} == set(PACKAGES) - lightning


@pytest.fixture
def marked_package(tmp_path, monkeypatch):
    """A package that leaves a mark when it is imported."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "marked_package.py").write_text(
        "import os, torch\nfrom pathlib import Path\n(Path(__file__).parent / 'imported').touch()\n"
        "def make(**options): return options\n"
        "class Layer(torch.nn.Module): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    yield tmp_path / "packages" / "imported"
    sys.modules.pop("marked_package", None)


def test_names_are_checked_before_anything_is_imported(marked_package):
    nodes = {"first": {"_target_": "marked_package.make"}, "second": {"_target_": "os.system"}}
    with pytest.raises(UntrustedTargetError, match=r"'os\.system' for second"):
        check_targets(OmegaConf.create(nodes), "file", ["marked_package."])
    assert not marked_package.exists()


@pytest.mark.parametrize("way", ["option", "environment"])
@pytest.mark.parametrize("name", ["marked_package.", "marked_package.make"])
def test_further_names_can_be_trusted(marked_package, monkeypatch, way, name):
    if way == "environment":
        monkeypatch.setenv(TRUSTED_VARIABLE, f"another.thing,{name}")
    trusted = [name] if way == "option" else []
    check_targets(config_with("marked_package.make"), "file", trusted)
    with pytest.raises(UntrustedTargetError):
        check_targets(config_with("marked_package_of_another.make"), "file", trusted)
    with pytest.raises(UntrustedTargetError):  # the package is trusted, what it has imported is not
        check_targets(config_with("marked_package.os.system"), "file", trusted)


def test_an_interpolation_counts_as_what_it_stands_for():
    config = OmegaConf.create(
        {"name": "os.system", "data": {"_target_": "${name}"}, "made": '${oc.create:"{_target_: os.abort}"}'}
    )
    with pytest.raises(UntrustedTargetError, match=r"got 'os\.system' for data"):
        check_targets(config, "file")
    del config.data
    with pytest.raises(UntrustedTargetError, match=r"got 'os\.abort' for made"):
        check_targets(config, "file")


class Exploit:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def exploits(tmp_path):
    """What ran a stranger's code, each as a node of a configuration, and the folder that one of them makes if it runs."""
    proof = tmp_path / "code was run"
    pickled = tmp_path / "exploit.pickle"
    pickled.write_bytes(pickle.dumps(Exploit(proof)))
    torch.save(Exploit(proof), tmp_path / "exploit.pth")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hubconf.py").write_text(f"import os\nos.mkdir({str(proof)!r})\ndef net(**options): pass\n")
    hub = {"repo_or_dir": str(tmp_path / "hub"), "model": "net", "source": "local"}
    nodes = [
        {"_target_": "os.mkdir", "path": str(proof)},
        {"_target_": "numpy.load", "file": str(pickled), "allow_pickle": True},
        {"_target_": "joblib.load", "filename": str(pickled)},
        {"_target_": "timm.create_model", "model_name": "test_vit", "checkpoint_path": str(tmp_path / "exploit.pth")},
        {"_target_": "torch.load", "f": str(tmp_path / "exploit.pth"), "weights_only": False},
        {"_target_": "torch.hub.load", **hub},
        {"_target_": "gcp_repro.training.run.torch.hub.load", **hub},
        {"_target_": "gcp_repro.runs.files.write_atomically", "path": str(proof), "text": ""},
    ]
    return nodes, proof


@pytest.fixture
def run(compose_tiny):
    """A run of one epoch."""
    config = compose_tiny("trainer.max_epochs=1")
    train(config)
    return Path(config.paths.run_dir)


@pytest.mark.parametrize(
    "place", ["data", "model.backbone", "meta_layer", "optimizer", "protocol.initial", "data.mean", "elsewhere"]
)
def test_a_foreign_run_directory_runs_no_code(run, exploits, place, monkeypatch):
    nodes, proof = exploits
    own = OmegaConf.load(run / "config.yaml")
    for node in nodes:
        config = own.copy()
        OmegaConf.update(config, place, node, force_add=True, merge=False)
        config.trusted = [node["_target_"]]  # not for the run to say
        OmegaConf.save(config, run / "config.yaml")
        with pytest.raises(UntrustedTargetError, match=r"config\.yaml, which"):
            evaluate(run / "checkpoints" / "last.ckpt")
    assert not proof.exists()
    with pytest.raises(SystemExit) as ending:
        command(gcp_eval, monkeypatch, f"run={run}")
    assert ending.value.code == 2


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg.file", "pretrained_cfg_overlay.file", "cache_dir"])
def test_a_foreign_backbone_of_timm_names_no_file_for_timm_to_unpickle(run, exploits, tmp_path, option):
    """Whatever release of timm: newer ones would refuse this file themselves."""
    _, proof = exploits
    config = OmegaConf.load(run / "config.yaml")
    config.model.backbone = {"_target_": "gcp_repro.models.TimmBackbone", "name": "test_vit", "in_channels": 1}
    OmegaConf.update(config, f"model.backbone.{option}", str(tmp_path / "exploit.pth"), force_add=True)
    OmegaConf.save(config, run / "config.yaml")
    name = option.partition(".")[0]
    with pytest.raises(OptionError, match=rf"needs options that name no files; got {name}=.*: use checkpoint=FILE"):
        evaluate(run / "checkpoints" / "last.ckpt", accelerator="cpu")
    assert not proof.exists()


def test_a_foreign_run_directory_sees_no_environment(run, monkeypatch):
    monkeypatch.setenv("OWN_SECRET", "abc123")
    config = OmegaConf.load(run / "config.yaml")
    config.model.backbone._target_ = "${oc.env:OWN_SECRET}"
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(UntrustedTargetError) as refusal:
        evaluate(run / "checkpoints" / "last.ckpt")
    assert "abc123" not in str(refusal.value)
    assert "got '${oc.env:OWN_SECRET}'" in str(refusal.value)


def test_what_the_command_trusts_is_built(run, marked_package):
    config = OmegaConf.load(run / "config.yaml")
    config.optimizer._target_ = "marked_package.make"
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(UntrustedTargetError):
        evaluate(run / "checkpoints" / "last.ckpt", accelerator="cpu")
    assert not marked_package.exists()
    assert evaluate(run / "checkpoints" / "last.ckpt", accelerator="cpu", trusted=["marked_package."])


def command(module, monkeypatch, *arguments):
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    module.main()


def test_the_other_commands_refuse_as_well(exploits, compose_tiny, tiny_overrides, tmp_path, monkeypatch, capsys):
    nodes, proof = exploits
    places = [f"paths.runs_dir={tmp_path / 'runs'}"]
    for node in nodes:
        overrides = [f"+callbacks.own.{key}='{value}'" for key, value in node.items()]
        with pytest.raises(SystemExit) as ending:
            command(gcp_train, monkeypatch, *tiny_overrides, *places, *overrides)
        assert ending.value.code == 2
        assert f"got '{node['_target_']}' for callbacks.own._target_ in the command" in capsys.readouterr().err
    torch.save(foreign_alexnet().state_dict(), tmp_path / "weights.pth")
    options = ("--architecture", "alexnet", "--output", str(tmp_path / "imported"), "model.hidden_dims=[6,6]")
    with pytest.raises(SystemExit) as ending:
        gcp_import([str(tmp_path / "weights.pth"), *options, "model.backbone._target_=os.abort"])
    assert ending.value.code == 2
    assert "got 'os.abort' for model.backbone._target_ in the command" in capsys.readouterr().err
    assert not proof.exists()
    assert not (tmp_path / "runs").exists()


def test_a_foreign_batch_runs_no_code(exploits, compose_tiny, tiny_overrides, tmp_path, monkeypatch, capsys):
    nodes, proof = exploits
    for node in nodes:
        config = compose_tiny()
        OmegaConf.update(config, "model.backbone", node, merge=False)
        batch = {name: torch.zeros(1) for name in ("network", "images", "labels")}
        torch.save({**batch, "config": OmegaConf.to_yaml(config)}, tmp_path / "batch.pt")
        with pytest.raises(SystemExit) as ending:
            command(gcp_train, monkeypatch, *tiny_overrides, f"replay={tmp_path / 'batch.pt'}")
        assert ending.value.code == 2
        assert f"got '{node['_target_']}' for model.backbone._target_ in {tmp_path / 'batch.pt'}" in capsys.readouterr().err
    assert not proof.exists()
