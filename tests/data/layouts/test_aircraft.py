"""FGVC-Aircraft: what a damaged set is answered with."""

import pytest

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError

PARTIAL = OpenOptions(allow_partial=True)


class TestAircraft:
    def test_an_unknown_variant_is_named(self, tmp_path):
        root = write_tiny("aircraft", tmp_path / "x")
        path = root / "data" / "images_variant_test.txt"
        path.write_text(path.read_text().replace("737-200", "737-20"))
        with pytest.raises(DataError, match=r"is '737-20' \(nearest: 737-200"):
            open_image_set("aircraft", root, options=PARTIAL)

    def test_a_variant_named_twice(self, tmp_path):
        root = write_tiny("aircraft", tmp_path / "x")
        path = root / "data" / "variants.txt"
        path.write_text(path.read_text() + "707-320\n")
        with pytest.raises(DataError, match=r"variants\.txt needs each variant once; twice: 707-320"):
            open_image_set("aircraft", root, options=PARTIAL)
