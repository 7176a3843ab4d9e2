"""Reading and writing the checkpoints of the published code bases: their names of tensors, our network.

Imports: `training`.
"""

from gcp_repro.weights.arithmetic import ARITHMETICS
from gcp_repro.weights.exporting import export_weights
from gcp_repro.weights.importing import ConvertedWeights, import_weights
from gcp_repro.weights.layouts import ARCHITECTURES, Architecture, Layout

__all__ = ["ARCHITECTURES", "ARITHMETICS", "Architecture", "ConvertedWeights", "Layout", "export_weights", "import_weights"]
