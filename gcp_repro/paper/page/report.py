"""The report: what goes on the page and in which order. The sections follow the paper."""

from __future__ import annotations

import base64
import functools
import gzip
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

import gcp_repro
from gcp_repro.paper.analytic import approximation, bounds
from gcp_repro.paper.figures.epoch_figures import curve_figures
from gcp_repro.paper.figures.further_figures import eigenvalue_ratio_figures, quotient_figures, seed_figures
from gcp_repro.paper.figures.plots import Figure
from gcp_repro.paper.measured import diagnostics, errors, imported, run_tables, seeds, speed
from gcp_repro.paper.measured.counterparts import counterpart
from gcp_repro.paper.page.claims import Claim, make_claims, make_limits
from gcp_repro.paper.page.findings import Finding, find
from gcp_repro.paper.page.pictures import Picture, pictures
from gcp_repro.paper.plan import plan_table
from gcp_repro.paper.published.published_tables import CITATION, PAPER, as_table, published_tables, works
from gcp_repro.paper.store.results import Results, plural
from gcp_repro.paper.store.settings import Setting, find_settings
from gcp_repro.paper.tables.table import Table

__all__ = ["Report", "Section", "build_report", "render_html"]

AS_PUBLISHED = ("2", "3", "4", "11")
"""Published tables shown whole for reference; every other one has its numbers in a table of its own."""


SIGNED_NUMBER = re.compile(r"(?<![\w.-])[(\[]*(?:-\d[\d.]*(?:e[+-]?\d+)?|\d[\d.]*e-\d+)")


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: Anchor.
        title: Heading.
        text: Paragraphs before the content.
        tables: In order.
        figures: In order, after the tables.
        pictures: In order, after the figures.
        folded: Shown on request only.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """All that the page shows, independent of its form.

    Attributes:
        results: What was gathered.
        settings: What may be compared, most runs first.
        claims: What the page begins with.
        limits: What it does not show.
        findings: Sentences on every setting.
        sections: The rest, in the order of the page.
        made: When.
    """

    results: Results
    settings: tuple[Setting, ...]
    claims: tuple[Claim, ...]
    limits: tuple[str, ...]
    findings: tuple[Finding, ...]
    sections: tuple[Section, ...]
    made: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @property
    def tables(self) -> list[Table]:
        """Every table with at least one row, in the order of the page."""
        return [table for section in self.sections for table in section.tables if table.rows]


def build_report(results: Results, page: Path, bench: pd.DataFrame | None = None) -> Report:
    """Make all tables and figures.

    Args:
        results: What was gathered.
        page: Where the report will be written; links to runs are relative to its folder.
        bench: Rows of `gcp-bench layers`, as `read_bench` gives them; `None` for none.
    """
    settings = tuple(find_settings(results))
    sections = [
        *(_setting_section(setting) for setting in settings),
        *_imported_section(results, page),
        Section(
            "condition",
            "Condition number and first eigenvalues (Table 1, Figure 3)",
            (),
            (diagnostics.condition_table(settings),),
            tuple(eigenvalue_ratio_figures(settings)),
        ),
        Section(
            "speed",
            "Time in the meta-layer (Table 5)",
            (),
            (speed.speed_table(speed.read_bench(()) if bench is None else bench, page),),
        ),
        Section(
            "approximation",
            "Approximation error of Taylor and Pade (Tables 6, 8, 9)",
            (
                "SVD-Taylor and SVD-Pade replace 1/(1 - l_j/l_i) in the gradient. The tables give the published "
                "errors, the published construction carried out "
                "here, and exact arithmetic. 1/(1-x) is rational: its exact Pade approximant is the function itself, "
                "and everything printed for Pade is rounding.",
            ),
            (approximation.table6(), approximation.table8(), approximation.table9()),
        ),
        Section(
            "bounds",
            "Upper bound of the gradient (Tables 7, 10)",
            ("How large one entry of K, which stands for 1/(l_i - l_j), can become.",),
            (bounds.table7(),),
            tuple(quotient_figures()),
        ),
        Section("seeds", "Random seeds (appendix G)", (), (seeds.seeds_table(settings),), tuple(seed_figures(settings))),
        Section(
            "missing",
            "What is not measured here",
            (
                "The paper's Tables 1 to 5 and 11 are about ImageNet and fine-grained data sets on GPUs. The "
                "commands below fill them, given the data; gcp-tables then "
                "shows the results beside the published numbers. The amount of work is known, the time on a GPU only "
                "where it was measured. "
                "Table 4 starts from the weights of the hybrid runs of Table 3, which gcp-train finds by itself. "
                f"Table 5 (seconds a batch) needs a GPU and no training: {speed.COMMAND}",
            ),
            (plan_table(results),),
        ),
        Section(
            "published", "The paper's tables as published", (), tuple(as_table(number) for number in AS_PUBLISHED), folded=True
        ),
        _later_work_section(),
        Section("runs", "Runs", (), (run_tables.runs_table(settings, page), run_tables.problems_table(results, page))),
    ]
    claims, limits = tuple(make_claims(settings)), tuple(make_limits(settings))
    return Report(results, settings, claims, limits, tuple(find(settings)), tuple(sections))


def _imported_section(results: Results, page: Path) -> list[Section]:
    table = imported.imported_table(results, page)
    return [Section("imported", "Published weights, scored here", (), (table,))] if table.rows else []


def _later_work_section() -> Section:
    later = [work for work in works().values() if work.key != PAPER]
    text = tuple(f"{work.name}: {work.citation}; {work.code}" for work in later)
    tables = tuple(as_table(number, work.key) for work in later for number in published_tables(work.key))
    return Section("later-work", "Tables of later work as published", text, tables, folded=True)


def _setting_section(setting: Setting) -> Section:
    warmup, beside = errors.warmup_table(setting), counterpart(setting.experiment, setting.departures)
    figures = "" if beside.accuracy else ", Figures 1, 2, 4 and 5"
    tables = (errors.errors_table(setting), errors.differences_table(setting), *((warmup,) if warmup else ()))
    logged = (diagnostics.diagnostics_table(setting),) if diagnostics.diagnostics_columns(setting) else ()
    return Section(
        f"setting-{setting.key}",
        f"{setting.title} ({'' if beside.same else 'form of '}Table {beside.number}{figures})",
        (),
        (*tables, *logged),
        tuple(curve_figures(setting)),
        pictures(setting),
    )


def render_html(report: Report) -> str:
    """The page: one file, nothing loaded from anywhere else."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            citation=CITATION,
            version=gcp_repro.__version__,
            plotly=_packed_plotly(),
            css=_template("report.css"),
            script=_template("report.js"),
        )
    )


def unbroken(text: str) -> Markup:
    """Text as HTML in which no line ends after the sign of a number or of its exponent."""
    return Markup(SIGNED_NUMBER.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


@functools.cache
def _packed_plotly() -> str:
    """Plotly's library in two fifths of its size; `report.js` unpacks it."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _template(name: str) -> str:
    return files("gcp_repro.paper.page").joinpath("templates").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["plural"] = plural
    environment.filters["unbroken"] = unbroken
    return environment
