"""Processes that torchrun starts: on one machine, and on two, which are both this one."""

import socket
import subprocess
import sys

import pytest

from gcp_repro.runs import RunDirectory, read_json
from tests.conftest import TINY
from tests.tolerances import TIME_LIMIT

TRAIN = ["-m", "gcp_repro.cli.train", *TINY, "trainer=ddp", "trainer.accelerator=cpu"]
TRAIN += ["schedule.epochs=2", "schedule.milestones=[1]"]


def torchrun(*arguments):
    return [sys.executable, "-m", "torch.distributed.run", *arguments, *TRAIN]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_a_run_of_two_processes_has_one_directory_and_one_result(machines, surroundings, tmp_path):
    """`trainer=ddp` takes their number from torchrun."""
    where = ["--nproc-per-node", str(2 // machines), "--nnodes", str(machines), "--rdzv-backend", "c10d"]
    where += ["--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "test"]
    nodes = [
        subprocess.Popen(
            torchrun(*where), env=surroundings, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(machines)
    ]
    said = [node.communicate(timeout=TIME_LIMIT)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0] * machines, "\n".join(said)
    (path,) = (tmp_path / "runs" / "digits").iterdir()
    result = read_json(RunDirectory(path).result)
    assert (result["status"], result["world_size"], result["local_batch_size"], result["epochs"]) == ("finished", 2, 5, 2)
    assert sorted(file.name for file in path.glob("train*.log")) == ["train.log", "train.rank1.log"]
