"""Global covariance pooling: layers, gradients, training protocol, and the tables of the ICCV 2021 paper."""

__version__ = "0.2.0.dev0"
