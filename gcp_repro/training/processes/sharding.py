"""`trainer=fsdp`: weights, gradients and the optimiser's state spread over the processes (FSDP2), for large backbones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn

__all__ = ["SHARDED", "local_part", "shard", "strategy_of"]

SHARDED = "fsdp"
"""In `trainer.strategy`; Lightning's own strategy of that name is torch's first FSDP, which torch gives up."""
SMALLEST_BLOCK = 1_000_000
"""Parameters from which on a block of the backbone is gathered by itself; smaller ones come with what they are in."""


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's FSDP2 over all processes, with whole checkpoints in one file, as every other run has them."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """One group of all processes."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def strategy_of(name: str) -> str | Strategy:
    """What Lightning's Trainer takes for `trainer.strategy`."""
    return ShardedStrategy() if name == SHARDED else name


def shard(network: nn.Module, mesh: Any) -> None:
    """Spread the parameters of a network over the processes of a device mesh.

    Each part that has parameters is gathered when it is called, and so are the larger blocks of the backbone, one after
    the other. The meta-layer between them has none and sees whole features of the process's images.
    """
    from torch.distributed.fsdp import fully_shard

    for part in network.children():
        if next(part.parameters(), None) is not None:
            for block in _blocks(part):
                fully_shard(block, mesh=mesh)
            fully_shard(part, mesh=mesh)
    fully_shard(network, mesh=mesh)


def _blocks(part: nn.Module) -> Iterator[nn.Module]:
    """Members of the sequences in a part that are large enough, innermost first."""
    for module in reversed([*part.modules()]):
        if isinstance(module, nn.Sequential | nn.ModuleList) and module is not part:
            yield from (block for block in module if sum(p.numel() for p in block.parameters()) >= SMALLEST_BLOCK)


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that may be spread over all of them."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
