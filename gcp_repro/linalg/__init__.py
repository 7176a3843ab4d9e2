"""Pure functions on tensors: covariances, spectral functions of them, and the gradients of these.

Imports: `registry`; of others `numpy`, `torch`.
"""

from gcp_repro.linalg.covariance import covariance, from_upper_triangle, upper_triangle
from gcp_repro.linalg.gradient_rules import GRADIENT_RULES, GradientRule, gradient_rule, register_rule
from gcp_repro.linalg.matrix_functions import matrix_inv_sqrt, matrix_log, matrix_power, matrix_sqrt
from gcp_repro.linalg.pooling import PoolingSpec, operator_for
from gcp_repro.linalg.quotients import DIFFERENCE_QUOTIENTS
from gcp_repro.linalg.spectral_function import (
    SPECTRAL_FUNCTIONS,
    GradientTable,
    SpectralFunction,
    register_function,
    spectral_function,
)

__all__ = [
    "DIFFERENCE_QUOTIENTS",
    "GRADIENT_RULES",
    "SPECTRAL_FUNCTIONS",
    "GradientRule",
    "GradientTable",
    "PoolingSpec",
    "SpectralFunction",
    "covariance",
    "from_upper_triangle",
    "gradient_rule",
    "matrix_inv_sqrt",
    "matrix_log",
    "matrix_power",
    "matrix_sqrt",
    "operator_for",
    "register_function",
    "register_rule",
    "spectral_function",
    "upper_triangle",
]
