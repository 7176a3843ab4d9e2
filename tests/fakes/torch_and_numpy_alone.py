"""Run as a script: the layers in a process that has no library but torch, numpy and what these need themselves."""

import importlib.metadata as metadata
import re
import sys


def needed_by(*names: str) -> set[str]:
    """Distributions, with those that they require, without extras."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            try:
                required = metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # of another platform
                continue
            waiting += [re.match(r"[\w.-]+", line)[0] for line in required if "extra ==" not in line]
    return found


class Without:
    """Finds what the finders given to it find, but for the modules of other distributions."""

    def __init__(self, finders: list) -> None:
        self.finders = finders
        kept = needed_by("torch", "numpy") | {"gcp-repro"}
        owners = metadata.packages_distributions().items()
        self.absent = {name for name, of in owners if not kept & {re.sub(r"[-_.]+", "-", owner).lower() for owner in of}}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> object:
        if fullname.partition(".")[0] in self.absent:
            return None
        return next(filter(None, (finder.find_spec(fullname, path, target) for finder in self.finders)), None)


def main() -> None:
    without = Without(sys.meta_path[:])
    assert {"hydra", "omegaconf", "pytorch_lightning", "torchvision", "timm", "pandas", "scipy"} <= without.absent
    sys.meta_path[:] = [without]

    import torch

    from gcp_repro.linalg import matrix_inv_sqrt, matrix_sqrt
    from gcp_repro.metalayers import META_LAYERS, build_meta_layer

    features = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0))
    for name in META_LAYERS:
        layer, given = build_meta_layer(name), features.clone().requires_grad_()
        pooled = layer(given)
        assert pooled.shape == (2, layer.output_dim(16)), name
        pooled.square().sum().backward()
        assert given.grad.isfinite().all(), name
        build_meta_layer(name).load_state_dict(layer.state_dict())

    covariance = torch.eye(3, dtype=torch.float64, requires_grad=True)
    (matrix_sqrt(covariance) @ matrix_inv_sqrt(covariance)).sum().backward()
    assert torch.equal(covariance.grad, torch.zeros(3, 3, dtype=torch.float64))
    print(len(META_LAYERS), *sorted(without.absent & {name.partition(".")[0] for name in sys.modules}))


if __name__ == "__main__":  # pytest imports every file, in search of doctests
    main()
