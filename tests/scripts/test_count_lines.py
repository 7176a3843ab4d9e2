"""What counts as a line of code, and the table of packages."""

import pytest

from scripts.count_lines import EARNS, code_lines, lines_in, size_table, two_digits

SOURCE = '''"""A module.

Of two paragraphs.
"""

# a comment
WORDS = """one
two"""  # a value, of two lines


def double(x):
    """Twice."""
    return (
        2 * x
    )
'''


def test_blank_lines_comments_and_docstrings_do_not_count():
    assert code_lines(SOURCE) == 2 + 1 + 3


def test_a_folder_has_the_lines_of_all_files_below_it(tmp_path):
    for name in ("a.py", "deep/b.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SOURCE)
    assert lines_in([tmp_path]) == 12
    assert lines_in([tmp_path / "a.py"]) == 6


def test_the_table_has_every_package(tmp_path):
    package = tmp_path / "gcp_repro"
    for name in [*(name for names in EARNS for name in names), "__init__.py"]:
        file = package / name / "__init__.py" if not name.endswith(".py") else package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n")
    assert f"| `linalg`, `registry.py`, `locks.py`, `errors.py` | 4 | {EARNS[next(iter(EARNS))]} |" in size_table(package)
    (package / "new.py").touch()
    (package / "trust.py").unlink()
    with pytest.raises(ValueError, match=r"lacks \['new\.py'\], and has \['trust\.py'\] too many"):
        size_table(package)


@pytest.mark.parametrize(("number", "text"), [(7, "7"), (249, "250"), (1249, "1,200"), (17_230, "17,000")])
def test_numbers_are_rounded_to_two_digits(number, text):
    assert two_digits(number) == text
