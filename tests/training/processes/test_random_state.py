import torch

from gcp_repro.training.processes.random_state import RandomState

CPU = torch.device("cpu")


def test_what_was_noted_comes_back(tmp_path):
    noted = RandomState.now(CPU)
    first = torch.rand(3)
    torch.save(noted.state_dict(), tmp_path / "state")
    RandomState(**torch.load(tmp_path / "state", weights_only=True)).restore(CPU)
    assert torch.equal(torch.rand(3), first)


def test_nothing_noted_changes_nothing():
    before = torch.get_rng_state()
    RandomState().restore(CPU)
    assert torch.equal(torch.get_rng_state(), before)
