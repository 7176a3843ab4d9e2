"""Registries take names of other packages, and find those by their entry points."""

from __future__ import annotations

import pytest

from gcp_repro.errors import OptionError
from gcp_repro.registry import REGISTRIES, Registry
from tests.fakes.plugins import install, run


@pytest.fixture
def colours():
    registry = Registry("colour")
    registry.add("red", 1, built_in=True)
    yield registry
    del REGISTRIES["colour"]


def test_what_comes_with_the_package_stays(colours):
    colours.add("blue", 2)
    assert dict(colours) == {"red": 1, "blue": 2}
    assert dict(colours.built_in) == {"red": 1}
    for name in ("red", "blue"):
        with pytest.raises(OptionError, match=f"a colour needs a name of its own; '{name}' is taken: choose another one"):
            colours.add(name, 3)
    with pytest.raises(OptionError, match="'red' is taken"):
        colours.add("red", 3, replace=True)
    colours.add("blue", 3, replace=True)
    assert colours.find("blue") == 3
    colours.remove("blue")
    for name in ("blue", "red"):
        with pytest.raises(OptionError, match=f"only a colour that was added can be removed; got '{name}'"):
            colours.remove(name)


@pytest.mark.parametrize("name", ["dark red", "", "a/b", "a=b", "lambda"])
def test_names_that_configurations_cannot_hold(colours, name):
    with pytest.raises(OptionError, match="a colour needs a name of letters, digits and underscores"):
        colours.add(name, 1)


def test_entry_points_are_loaded_when_a_name_is_looked_up(tmp_path):
    """A module, a function, and one that fails: the others are there all the same."""
    install(tmp_path, "of_module", "of_module", """
        from gcp_repro.linalg import GRADIENT_RULES, register_rule
        register_rule("half", quotient=lambda larger, smaller: 0.5 / (larger - smaller))
        assert "half" in GRADIENT_RULES  # looking names up while plugins are loaded
    """)  # fmt: skip
    install(tmp_path, "of_function", "of_function:register", """
        from gcp_repro.linalg import SpectralFunction, functions, register_function
        def register():
            register_function("root", lambda: SpectralFunction("root", functions.sqrt().value, functions.sqrt().gradient))
    """)  # fmt: skip
    install(tmp_path, "broken", "broken", "import not_there")
    done = run(tmp_path, """
        import sys, warnings
        from gcp_repro.linalg import gradient_rule, spectral_function
        assert "of_module" not in sys.modules
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(gradient_rule("half").quotient(3.0, 2.0), spectral_function("root"))
            gradient_rule("half")
        (warning,) = caught
        print(warning.message)
    """)  # fmt: skip
    assert done.returncode == 0, done.stderr
    values, message = done.stdout.splitlines()
    assert values == "0.5 root"
    assert "the plugin broken = broken could not be loaded, and its names are not known (ModuleNotFoundError" in message
    assert "mend or uninstall it" in message
