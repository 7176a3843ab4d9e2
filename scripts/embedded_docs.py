"""What documents say of the embedded experiment, from its rows in results/embedded: the report's sentences and tables."""

from __future__ import annotations

from pathlib import Path

from gcp_repro.paper.measured.errors import differences_table, errors_table
from gcp_repro.paper.page import findings
from gcp_repro.paper.page.claims import make_claims, make_limits
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import Setting, find_settings
from gcp_repro.paper.tables.export import to_markdown

IN_README = (
    findings.average_pooling,
    findings.float64_layers,
    findings.hybrid_layers,
    findings.precision,
    findings.protocols,
    findings.smoothness,
)


def embedded_settings(folder: Path) -> list[Setting]:
    """The settings of the embedded experiment, the one with most runs first."""
    return find_settings(gather([folder]))


def readme_part(settings: list[Setting]) -> str:
    """The sentences of the main setting that the front page has room for."""
    return _listed([text for make in IN_README for text in make(settings[0])])


def findings_part(settings: list[Setting]) -> str:
    """Every claim with the paper's and our sentences, what the rows say besides, and the tables behind."""
    claims = make_claims(settings)
    said = {text for claim in claims for text in claim.sentences}
    parts = [f"## {claim.question}\n\nThe paper: {claim.paper}\n\n{_listed(claim.sentences)}" for claim in claims]
    parts.append(f"## What this does not show\n\n{_listed(make_limits(settings))}")
    for setting in settings:
        further = [finding.text for finding in findings.find([setting]) if finding.text not in said]
        parts.append(f"## {setting.title}\n\n{_listed(further)}")
    parts += [to_markdown([table(setting)]) for setting in settings for table in (errors_table, differences_table)]
    return "\n".join(parts)


def _listed(sentences: list[str] | tuple[str, ...]) -> str:
    return "".join(f"- {text}\n" for text in sentences)
