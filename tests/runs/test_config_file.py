import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gcp_repro.errors import DataError
from gcp_repro.runs.config_file import LARGEST_TEXT, parse_config, read_config

PARTS = st.sampled_from(["\\", "$", "{", "}", "a", ":", "'", '"', "#", " ", "\n", "oc.env:HOME", "*", "&"])


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines)


@given(st.lists(PARTS, max_size=8).map("".join))
def test_values_come_back_as_they_were_and_nothing_is_looked_up(text):
    written = yaml.safe_dump({"folder": {"path": text}})
    config = parse_config(written, "file")
    assert config.folder.path == text
    assert OmegaConf.to_container(config, resolve=True) == {"folder": {"path": text}}


def test_values_are_those_of_a_composed_configuration():
    config = parse_config("lr: 1e-3\nday: 2020-01-01\nempty: null\nshared: &x {b: 1}\nalias: *x", "file")
    assert config == {"lr": 0.001, "day": "2020-01-01", "empty": None, "shared": {"b": 1}, "alias": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(20), "stands for more than 20,000 values, by aliases of aliases"),
        ("a: &a [*a]", "an alias stands for what it is in"),
        ("a: " + "[" * 20_000, "cannot be read: RecursionError"),
        ("a: " + "x" * LARGEST_TEXT, "has 262,147 characters, more than 262,144"),
        ("a: !!python/object/apply:os.system [exit]", "cannot be read: ConstructorError: could not determine a constructor"),
        ("a: " + "9" * 5000, "cannot be read: ValueError"),
        ("- 1", "is no mapping"),
        ("", "is no mapping"),
        ("a: b: c", "cannot be read: ScannerError"),
        ("a: 1\na: 2", "found duplicate key a"),
    ],
)
def test_what_no_run_has_written_is_refused(text, message):
    with pytest.raises(DataError, match=f"needs to be as gcp-train writes it; file {message}|; file .*{message}"):
        parse_config(text, "file")


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a run needs its configuration; reading .*config\.yaml gave"):
        read_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_bytes(b"a: \xff")
    with pytest.raises(DataError, match=r"a run needs its configuration; reading .*config\.yaml gave"):
        read_config(tmp_path / "config.yaml")
