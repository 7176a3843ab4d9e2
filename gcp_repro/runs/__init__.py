"""What a run is on disk: its directory, name, lock, files, checkpoints' integrity, state, and the fields of its result.

Imports: `errors`; of others `filelock`, `omegaconf`, `yaml`, so that looking at runs costs nothing.
"""

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import read_json, write_atomically, write_csv, write_json
from gcp_repro.runs.identity import config_hash, register_resolvers, run_directory, run_name, setting_of
from gcp_repro.runs.lock import RunLocked, run_lock
from gcp_repro.runs.schema import FIELDS, PROTOCOLS, SCHEMA, objection

__all__ = [
    "FIELDS",
    "PROTOCOLS",
    "SCHEMA",
    "RunDirectory",
    "RunLocked",
    "config_hash",
    "objection",
    "read_json",
    "register_resolvers",
    "run_directory",
    "run_lock",
    "run_name",
    "setting_of",
    "write_atomically",
    "write_csv",
    "write_json",
]
