import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "portable_tests.py"
ALL = {"avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl"}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setitem(sys.modules, "portable_tests", type(sys)("portable_tests"))  # data classes look their module up
    return runpy.run_path(str(SCRIPT), run_name="portable_tests")


def test_machines_are_chosen_by_name_and_left_out_for_what_the_cpu_lacks(script):
    assert script["choose"]([], ALL) == dict.fromkeys(script["MACHINES"], "")
    assert script["choose"](["avx2", "avx512"], {"avx2", "fma"}) == {"avx2": "", "avx512": "avx512f avx512dq avx512bw avx512vl"}
    assert script["choose"](["sse"], set()) == {"sse": ""}
    with pytest.raises(SystemExit, match=r"needs machines among sse, avx2, avx512, .*; got 'sse3': name one of these"):
        script["choose"](["avx2", "sse3"], ALL)
    with pytest.raises(SystemExit, match="avx512 need instructions that this CPU lacks: name another"):
        script["choose"](["avx512"], set())


def test_flags_are_those_of_linux(script, tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert script["cpu_flags"](tmp_path / "cpuinfo") == {"fpu", "sse4_2", "avx2"}
    assert script["cpu_flags"](tmp_path / "none") == set()


def test_numpys_wider_vectors_are_switched_off(script):
    found = ["AVX2", "FMA3", "X86_V3", "X86_V4", "AVX512_ICL"]
    disabled = {name: machine.environment(found).get("NPY_DISABLE_CPU_FEATURES") for name, machine in script["MACHINES"].items()}
    assert (disabled["sse"], disabled["avx2"]) == (" ".join(found), "X86_V4 AVX512_ICL")
    assert (disabled["avx512"], disabled["two-threads"]) == ("", None)


def test_named_tests_exist(script):
    for name in script["NUMERICAL"]:
        path, _, function = name.partition("::")
        assert (SCRIPT.parents[1] / path).exists()
        assert f"def {function}(" in (SCRIPT.parents[1] / path).read_text() if function else True


@pytest.mark.parametrize(
    ("capability", "code", "words"),
    [("default", 0, "passed"), ("default", 1, "pytest ends with 1"), ("avx2", 0, "torch computes with avx2")],
)
def test_the_summary_tells_what_failed_and_on_what_arithmetic(script, monkeypatch, capsys, capability, code, words):
    commands = []

    def run(command, **options):
        commands.append((command[-1], options["env"]["ATEN_CPU_CAPABILITY"]))
        return subprocess.CompletedProcess(command, code if "pytest" in command else 0, stdout=f"{capability} 0123abcd\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert script["main"](["sse", "--", "-x"]) == (words != "passed")
    assert commands == [(script["PROBE"], "default"), ("-x", "default")][: 2 if capability == "default" else 1]
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("sse", capability, "0123abcd", words))


def test_torch_names_its_kernels_as_the_machines_do(script):
    capabilities = {machine.capability for machine in script["MACHINES"].values()}
    assert torch.backends.cpu.get_cpu_capability().lower() in capabilities
