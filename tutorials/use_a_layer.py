# %% [markdown]
# # Use a layer
#
# A layer alone, its gradient, and the same layer in a network of timm.
#
# A meta-layer maps features `(B, C, H, W)` to the upper triangle of a function of their covariance, `(B, C (C + 1) / 2)`. It has no parameters, so
# it can stand wherever average pooling stood.

# %%
import torch

from gcp_repro.metalayers import META_LAYERS, build_meta_layer

torch.manual_seed(0)
features = torch.randn(2, 8, 5, 5, requires_grad=True)
layer = build_meta_layer("svd_lyapunov")
pooled = layer(features)
print(tuple(pooled.shape), layer.output_dim(8), pooled.dtype)
print(*META_LAYERS)

# %% [markdown]
# Automatic differentiation of an eigendecomposition divides by differences of eigenvalues, which is `0 / 0` where two of them are equal. The layer's gradient is the exact one, which
# is finite there. The matrix functions behind the layers show it best: the derivative of the sum of the root, at the identity, is one half everywhere.

# %%
from gcp_repro.linalg import matrix_sqrt

cov = torch.eye(3, dtype=torch.float64, requires_grad=True)
matrix_sqrt(cov).sum().backward()
print("matrix_sqrt:", cov.grad.tolist())

other = torch.eye(3, dtype=torch.float64, requires_grad=True)
eigenvalues, vectors = torch.linalg.eigh(other)
((vectors * eigenvalues.sqrt()) @ vectors.mT).sum().backward()
print("torch.linalg.eigh:", other.grad.tolist())
assert other.grad.isnan().any()

# %% [markdown]
# In a network one call puts the layer in the place of the pooling; all other weights stay.

# %%
import timm

from gcp_repro.models import replace_pooling

model = replace_pooling(timm.create_model("resnet18", num_classes=10), "svd_lyapunov", reduce_dim=32)
images, labels = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for step in range(5):
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.2f}")

# %% [markdown]
# Which layer? `isqrt_cov` is the strongest one of the paper, `svd_lyapunov` the exact root with its exact gradient. The [layers](../docs/layers/index.md) have a page each, and
# [your own model](../docs/your_own_model.md) says what else `replace_pooling` takes.
