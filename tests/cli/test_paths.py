import pytest
from hydra import compose, initialize_config_module

from gcp_repro.cli.paths import with_plain_paths

PATHS = [
    "runs/a,b", "runs/{x}", "runs/set[1]", "runs/caf\u00e9", "runs/a b", "runs/it's", 'runs/"q"', "runs/a=b", "runs/(x)",
    "C:\\runs\\x", "runs/back\\'slash", "ends\\", "${oc.env:HOME}", "runs/*", "runs/~x", "runs/#1", "a:b", "runs/%d",
    "-1", "true", "1e3",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_arrives_as_it_was_typed(path):
    (argument,) = with_plain_paths([f"run={path}"], {"run"})
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        config = compose("eval", [argument])
    assert config.run == path


def test_what_is_quoted_and_other_options_stay_as_they_are():
    arguments = ["run='a,b'", 'run="x"', "run=null", "run=", "accelerator=a,b", "--help"]
    assert with_plain_paths(arguments, {"run"}) == arguments
