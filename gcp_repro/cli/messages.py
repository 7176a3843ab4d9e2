"""Hydra's composition errors in the words of this package: what came, what is nearest, what is known."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.initialize import initialize_config_module
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gcp_repro.cli.mistakes import explained
from gcp_repro.cli.values import check_values
from gcp_repro.errors import UnknownNameError
from gcp_repro.runs.exit_codes import of_signal

__all__ = ["CONFIGURATION_ERRORS", "describe", "run_command"]

CONFIG_MODULE = "gcp_repro.configs"
CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException)
WHOLE_TRACEBACK = "HYDRA_FULL_ERROR"

EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
    "hydra/sweeper/sampler/tpe": "optuna",
}
"""Configurations that plugins bring along, by the extra of this package that installs them."""


def run_command(main: Callable[[], object], config_name: str) -> None:
    """Run a Hydra app; a user's mistake ends it with one message and no traceback.

    Exit statuses are those of `gcp_repro.runs.exit_codes`. With the environment variable HYDRA_FULL_ERROR=1 errors pass as
    they are.

    Args:
        main: As decorated by `hydra.main`.
        config_name: Its primary configuration.
    """
    if os.environ.get(WHOLE_TRACEBACK) == "1":
        main()
        return
    os.environ[WHOLE_TRACEBACK] = "1"  # or Hydra would print errors itself and exit
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        words = partial(describe, config_name=config_name)
        with explained(Path(sys.argv[0]).name, words, configuration=CONFIGURATION_ERRORS, outside=()):
            _check_values(config_name)
            main()
    finally:
        signal.signal(signal.SIGTERM, previous)
        del os.environ[WHOLE_TRACEBACK]


def _terminate(signum: int, frame: FrameType | None) -> None:
    """SIGTERM before or between runs: nothing is lost, and the status tells."""
    raise SystemExit(of_signal(signum))


def describe(error: Exception, config_name: str) -> str:
    """The message for a user's mistake.

    Args:
        error: What Hydra, OmegaConf or this package raised.
        config_name: Primary configuration, to look up what its keys are.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        if error.missing_cfg_file in EXTRAS:
            return _absent_plugin(error.missing_cfg_file)
        group, _, option = error.missing_cfg_file.rpartition("/")
        return str(UnknownNameError(group, option, error.options))
    key = re.match(r"(?:In '.*': )?Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and key is not None:
        return str(UnknownNameError("option", key[1].partition("@")[0], _known_keys(config_name, key[1])))
    cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return f"{error}{cause}"


def _absent_plugin(config: str) -> str:
    extra = EXTRAS[config]
    return f"{config} needs a plugin of Hydra; it is not installed: pip install 'gcp_repro[{extra}]', or choose another launch="


def _check_values(config_name: str) -> None:
    """Values of the command line are of the kinds that the configuration has; what else is wrong with it Hydra finds."""
    values = [argument for argument in sys.argv[1:] if re.match(r"[a-z_]+(\.[a-z_0-9]+)*=", argument)]
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        _, config = _chosen(config_name)
        check_values(OmegaConf.to_container(config, resolve=False), values)  # type: ignore[arg-type]


def _chosen(config_name: str) -> tuple[list[str], DictConfig]:
    """All groups, and the configuration with the options of groups that were chosen, but without other values."""
    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = loader.list_groups("")
        choices = _choices(groups)
        for choice in choices:
            value = choice.value()
            for name in value if isinstance(value, list) else [value]:
                if not isinstance(name, str | QuotedString):  # for which Hydra has no message
                    raise UnknownNameError(choice.key_or_group, name, loader.get_group_options(choice.key_or_group))
        return groups, compose(config_name, [str(choice.input_line) for choice in choices])


def _known_keys(config_name: str, wrong: str) -> list[str]:
    """Groups and keys of the configuration that was chosen; those in the folder of `wrong` where there is such a folder."""
    groups, config = _chosen(config_name)
    known = {*_keys(config), *groups}
    parent = wrong.rpartition(".")[0]
    return sorted({key for key in known if key.rpartition(".")[0] == parent} or known)


def _choices(groups: list[str]) -> list[Override]:
    """Arguments of the command that choose options of a group, but for sweeps over them."""
    given = [argument for argument in sys.argv[1:] if argument.split("=")[0] in groups]
    return [override for override in OverridesParser.create().parse_overrides(given) if not override.is_sweep_override()]


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of all nodes."""
    for key in map(str, config):
        yield f"{prefix}{key}"
        child = config._get_node(key)  # as it is written: neither missing values nor interpolations are looked up
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key}.")
