"""How the images of a step are shared out over processes and passes."""

from __future__ import annotations

from dataclasses import dataclass

from gcp_repro.errors import OptionError

__all__ = ["BatchShare", "share_batch"]


@dataclass(frozen=True)
class BatchShare:
    """A step's images, its processes, and how often each of them computes a gradient before the step.

    Attributes:
        batch_size: Images a step, over all processes.
        world_size: Processes.
        passes: Gradients that each process accumulates.
    """

    batch_size: int
    world_size: int
    passes: int

    @property
    def local_batch_size(self) -> int:
        """Images that a process handles at a time: what batch norm sees."""
        return self.batch_size // (self.world_size * self.passes)


def share_batch(
    batch_size: int, world_size: int, *, passes: int | None = None, images_per_device: int | None = None
) -> BatchShare:
    """Divide a global batch evenly, in as few passes as the devices' memory allows.

    Args:
        batch_size: `data.batch_size`, images a step over all processes.
        world_size: Processes.
        passes: `trainer.accumulate_grad_batches`; None for as few as possible.
        images_per_device: `trainer.images_per_device`, as many as fit into a device's memory at a time; None for no bound.

    Raises:
        OptionError: The batch cannot be divided evenly.

    Example:
        >>> share_batch(256, 4, images_per_device=24)
        BatchShare(batch_size=256, world_size=4, passes=4)
    """
    for name, value in (("trainer.accumulate_grad_batches", passes), ("trainer.images_per_device", images_per_device)):
        if value is not None and value < 1:
            raise OptionError(f"{name} needs at least 1; got {value}: change it, or set it to null")
    if passes is None:
        share = batch_size // world_size
        least = 1 if images_per_device is None else -(-share // images_per_device)
        passes = next((count for count in range(least, share + 1) if share % count == 0), 1)
    parts = world_size * passes
    if batch_size % parts:
        below, above = batch_size // parts * parts, (batch_size // parts + 1) * parts
        sizes = f"{below} or {above}" if below else str(above)
        raise OptionError(
            f"data.batch_size is the number of images a step over all processes and must be a multiple of {parts} "
            f"({world_size} processes x {passes} passes); got {batch_size}: set it to {sizes}, or change trainer.devices or "
            "trainer.accumulate_grad_batches"
        )
    return BatchShare(batch_size, world_size, passes)
