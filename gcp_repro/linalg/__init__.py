"""Pure functions on tensors: covariances, spectral functions of them, and the gradients of these."""

from gcp_repro.linalg.covariance import covariance, from_upper_triangle, upper_triangle
from gcp_repro.linalg.functions import SPECTRAL_FUNCTIONS, SpectralFunction, spectral_function
from gcp_repro.linalg.gradient_rules import DIFFERENCE_QUOTIENTS, GRADIENT_RULES, GradientRule, gradient_rule
from gcp_repro.linalg.matrix_functions import matrix_inv_sqrt, matrix_log, matrix_power, matrix_sqrt

__all__ = [
    "DIFFERENCE_QUOTIENTS",
    "GRADIENT_RULES",
    "SPECTRAL_FUNCTIONS",
    "GradientRule",
    "SpectralFunction",
    "covariance",
    "from_upper_triangle",
    "gradient_rule",
    "matrix_inv_sqrt",
    "matrix_log",
    "matrix_power",
    "matrix_sqrt",
    "spectral_function",
    "upper_triangle",
]
