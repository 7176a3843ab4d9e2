import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_source_file_is_kept_out_of_the_repository():
    """As a pattern for folders of runs kept out the package of that name."""
    sources = [path for folder in ("gcp_repro", "tests", "scripts") for path in (ROOT / folder).rglob("*.py")]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *map(str, sources)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""
    assert ignored.returncode == 1, ignored.stderr  # git's way to say that it ignores none
