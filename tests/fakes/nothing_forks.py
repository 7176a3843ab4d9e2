"""Run as a script: the package without the functions that Windows has none of."""

import os
import pkgutil
import tempfile
from importlib import import_module
from pathlib import Path

for name in ("torch", "torchvision", "pytorch_lightning", "joblib", "timm", "wandb", "skimage", "sklearn", "pandas", "filelock"):
    import_module(name)  # they ask for the platform, which stays
for name in ("fork", "forkpty", "pread", "preadv", "register_at_fork", "killpg", "getpgid", "setsid", "statvfs"):
    delattr(os, name)

import torch  # noqa: E402

import gcp_repro  # noqa: E402
from gcp_repro.data.tar_storage import TarStorage  # noqa: E402
from gcp_repro.data.tiny import write_tiny  # noqa: E402
from gcp_repro.metalayers import build_meta_layer  # noqa: E402

modules = [module.name for module in pkgutil.walk_packages(gcp_repro.__path__, "gcp_repro.") if not module.ispkg]
for module in modules:
    import_module(module)

features = torch.randn(32, 64, 7, 7, requires_grad=True)  # chunks for several threads
torch.set_num_threads(2)
build_meta_layer("svd_lyapunov")(features).sum().backward()
assert features.grad.isfinite().all()

with tempfile.TemporaryDirectory() as folder:
    archives = write_tiny("imagenet_tar", Path(folder) / "archives")
    storage = TarStorage({"val": archives / "ILSVRC2012_img_val.tar"})
    assert all(storage.read(name).startswith(b"\xff\xd8") for name in storage.names("val"))  # as JPEG files begin
print(len(modules))
