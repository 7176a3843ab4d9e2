"""W&B's own agent runs the sweep files, against a stand-in for the server."""

import queue

import pytest
import yaml

from gcp_repro.runs import RunDirectory, read_json
from tests.conftest import TINY
from tests.launch.conftest import ROOT

pytestmark = pytest.mark.launcher


def test_an_agent_trains_what_it_is_sent(monkeypatch, surroundings, tmp_path):
    """The file's command with what the server sends as Hydra's overrides; the run of W&B has the number that the agent gave."""
    wandb_agent = pytest.importorskip("wandb.wandb_agent")
    from wandb.apis.public import sweeps

    file = yaml.safe_load((ROOT / "scripts" / "wandb_sweeps" / "table11.yaml").read_text())
    tiny = {name: value for name, _, value in (override.partition("=") for override in TINY)}
    sent = {"experiment": "digits", "row": "svd_pade_hybrid", "protocol.warmup_epochs": 1, **tiny}
    monkeypatch.chdir(tmp_path)
    for name, value in {**surroundings, "WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s1", "WANDB_API_KEY": "0" * 40}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sweeps, "_sweep_with_runs", lambda *_: {"config": yaml.safe_dump(file)})
    monkeypatch.setattr(sweeps, "_register_agent", lambda *_, **__: {"id": "agent"})
    orders = [{"type": "run", "run_id": "r1", "program": "", "args": {name: {"value": value} for name, value in sent.items()}}]
    monkeypatch.setattr(wandb_agent.Agent, "_heartbeat_commands", lambda *_: [orders.pop()] if orders else [])
    monkeypatch.setattr(wandb_agent.Agent, "POLL_INTERVAL", 1)
    monkeypatch.setattr(wandb_agent.wandb, "Api", lambda: None)
    wandb_agent.Agent(None, queue.Queue(), sweep_id="s1", count=1).run()
    (path,) = (tmp_path / "runs" / "digits").iterdir()
    result = read_json(RunDirectory(path).result)
    assert (result["status"], result["meta_layer"], result["warmup_epochs"]) == ("finished", "svd_pade", 1)
    (recording,) = path.glob("wandb/offline-run-*")
    assert recording.name.endswith("-r1")
