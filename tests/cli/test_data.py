import pytest

from gcp_repro.cli.data import main
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set


def test_a_tiny_set_is_written_where_none_is(tmp_path, capsys):
    main(["tiny", "cars", str(tmp_path / "cars"), "--classes", "2", "--train", "1", "--val", "1", "--size", "8", "6"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "cars")
    assert len(open_image_set("cars", tmp_path, options=OpenOptions(allow_partial=True)).train) == 2
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["tiny", "cars", str(tmp_path / "cars")])
    assert "gcp-data: a tiny data set needs an empty folder" in capsys.readouterr().err


def test_help_shows_what_to_type(capsys):
    with pytest.raises(SystemExit):
        main(["imagenet", "--help"])
    assert "gcp-data imagenet SOURCE TARGET --resize 256" in capsys.readouterr().out
