import base64
import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from gcp_repro.paper.page.report import build_report, render_html, unbroken
from gcp_repro.paper.store.results import gather
from tests.paper.fake_runs import write_broken, write_run, write_sweep


class Page(HTMLParser):
    """What a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded, self.tables = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        self.tables += tag == "table"
        self.loaded += [attributes[name] for name in ("src", "srcset") if name in attributes]
        if tag == "link":
            self.loaded.append(attributes["href"])


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    write_sweep(root / "runs", layers=("gap", "isqrt_cov", "svd_pade", "mpn_cov"), seeds=2)
    run = next((root / "runs" / "digits").iterdir())
    for split in ("train", "val"):
        Image.new("RGB", (82, 22)).save(run / f"images_{split}.png")
    write_broken(root / "runs")
    path = root / "reports" / "index.html"
    path.parent.mkdir()
    path.write_text(render_html(build_report(gather([root / "runs"]), path)))
    return path


@pytest.fixture(scope="module")
def page(page_file):
    return Page(page_file.read_text())


def test_nothing_is_loaded_from_elsewhere(page, page_file):
    assert page.loaded[0] == "data:,"
    assert all(source.startswith("data:image/webp;base64,") for source in page.loaded[1:])
    styles = "".join(re.findall(r"<style>(.*?)</style>", page_file.read_text(), re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles


def test_figures_offer_no_upload(page_file):
    assert "showSendToCloud: false" in page_file.read_text()


def test_plotly_is_embedded_once_and_packed(page_file):
    (packed,) = re.findall(r'<script type="application/gzip" id="plotly">([\w+/=]+)</script>', page_file.read_text())
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert page_file.stat().st_size < len(get_plotlyjs()) / 2


def test_links_lead_somewhere(page, page_file):
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (page_file.parent / link).is_file(), link
    assert any(link.endswith("config.yaml") for link in page.links)


def test_every_measured_number_of_a_run_has_a_link(page_file):
    found = re.findall(r'<figure class="table" id="([^"]+)">(.*?)</figure>', page_file.read_text(), re.DOTALL)
    cells = [
        cell for key, body in found if key != "run_list" for cell in re.findall(r'<td class="measured[^>]*>(.*?)</td>', body)
    ]
    assert len(cells) > 100
    assert all(cell.startswith("<a href=") for cell in cells)


def test_sections_are_there_with_their_tables(page):
    assert {
        "settings",
        "findings",
        "condition",
        "speed",
        "seeds",
        "approximation",
        "bounds",
        "missing",
        "published",
        "runs",
        "problems",
    } <= set(page.ids)
    assert {"table1", "table5", "appendix_g", "table6", "table7", "table8", "table9", "plan"} <= set(page.ids)
    assert page.tables > 15


def test_the_page_begins_with_the_claims_and_ends_them_with_what_they_do_not_show(page_file):
    text = page_file.read_text()
    order = [text.index(f'id="{key}"') for key in ("claim-errors", "claim-precision", "claim-smoothness", "claim-condition")]
    order += [text.index(f'id="{key}"') for key in ("limits", "settings", "findings", "condition")]
    assert order == sorted(order)
    assert "ImageNet (1.28 million photographs, 1000 classes)" in text


def test_the_pictures_of_a_run_are_shown_with_words(page_file):
    found = re.findall(r'<img src="data:[^"]+" alt="([^"]+)" width="82" height="22"', page_file.read_text())
    assert found == [
        f"Images of digits in rows of eight, cropped and resized as for {kind}" for kind in ("training", "evaluation")
    ]


def test_every_figure_has_an_alternative_in_words(page_file):
    text = page_file.read_text()
    described = re.findall(r'class="canvas" role="img" aria-label="[^"]{20,}" aria-describedby="(words-[^"]+)"', text)
    assert len(described) == text.count('class="canvas"') > 20
    for key in described:
        (words,) = re.findall(rf'<ul id="{re.escape(key)}">(.*?)</ul>', text, re.DOTALL)
        assert re.search(r"<li>.*\d", words), key


@pytest.mark.parametrize("number", ["8e-1", "-0.54", "[-1.14", "1.5e-16", "-2e+3", "(-7"])
def test_no_line_ends_within_a_number(number):
    assert unbroken(f"off by {number}; <b>") == f'off by <span class="whole">{number}</span>; &lt;b&gt;'


def test_words_with_hyphens_may_break():
    for text in ("iSQRT-COV 47.95", "seed0-158d04cc", "2026-11-26", "47.95 and 1e+3"):
        assert unbroken(text) == text


def test_the_numbers_of_sentences_are_whole(page_file):
    (claims,) = re.findall(r'<section id="claims".*?</section>', page_file.read_text(), re.DOTALL)
    sentences = " ".join(re.findall(r"<li>(.*?)</li>", claims))
    numbers = re.findall(r"\d[\d.]*e-\d+", sentences)
    assert len(numbers) > 3
    assert len(re.findall(r'<span class="whole">[^<]*e-\d+</span>', sentences)) == len(numbers)


def test_text_from_runs_is_escaped(tmp_path):
    write_run(tmp_path, status="diverged", message="<script>alert(1)</script>")
    text = render_html(build_report(gather([tmp_path]), tmp_path / "index.html"))
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_without_runs_the_page_holds_what_can_be_computed():
    report = build_report(gather([]), Path("index.html"))
    page = Page(render_html(report))
    assert "table6" in page.ids
    assert "findings" not in page.ids
