import pytest

from gcp_repro.cli.bench import main


def test_a_mistake_ends_with_one_message(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^1$"):
        main(["data", str(tmp_path)])
    assert capsys.readouterr().err.startswith("gcp-bench: the benchmark needs JPEG files")


def test_help_lists_the_benchmarks(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Images a second and core" in capsys.readouterr().out
