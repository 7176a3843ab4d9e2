"""`gcp-dashboard`: a Weights & Biases workspace and report for the runs of a project.

    gcp-dashboard --entity ME --project gcp_repro

needs `pip install "gcp_repro[wandb-dashboard]"` and `wandb login`. `--dry-run FILE` writes the workspace to a JSON file instead
and needs neither a login nor a network.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcp_repro.cli.mistakes import explained
from gcp_repro.errors import OptionError

__all__ = ["build_report", "build_workspace", "main"]

EPOCH = "epoch"
LAYER = "meta_layer.name"
PROTOCOL = "protocol.name"
COLUMNS = (
    "config:experiment_name.value",
    *(f"config:{key.replace('.', '.value.', 1)}" for key in (LAYER, PROTOCOL)),
    "config:seed.value",
    "config:swap_epoch.value",
    "summary:val/top1_error",
    "summary:val/top5_error",
    "summary:diagnostics/condition_number",
    "summary:diagnostics/beta_smoothness",
)
"""Of the table of runs: what was trained, and how it ended."""


@dataclass(frozen=True)
class Panel:
    """A metric of groups of runs: those with the same value of `by`, averaged over the rest."""

    title: str
    metric: str
    by: str = LAYER


@dataclass(frozen=True)
class Curve(Panel):
    """By epoch, one line a group."""

    log: bool = False


@dataclass(frozen=True)
class Bars(Panel):
    """Last values or configured ones, one bar a group."""

    configured: bool = False


SECTIONS: dict[str, tuple[Curve | Bars, ...]] = {
    "Errors": (
        Curve("Top-1 error by layer (%)", "val/top1_error"),
        Curve("Top-1 error by protocol (%)", "val/top1_error", PROTOCOL),
        Curve("Top-5 error by layer (%)", "val/top5_error"),
        Curve("Training loss by layer", "train/loss"),
    ),
    "Final errors": (
        Bars("Final top-1 error by layer (%)", "val/top1_error"),
        Bars("Final top-1 error by protocol (%)", "val/top1_error", PROTOCOL),
    ),
    "Conditioning": (
        Curve("Condition number", "diagnostics/condition_number", log=True),
        Curve("Condition number over the rank", "diagnostics/condition_number_rank", log=True),
        Curve("Effective beta-smoothness by layer", "diagnostics/beta_smoothness", log=True),
        Curve("Effective beta-smoothness by protocol", "diagnostics/beta_smoothness", PROTOCOL, log=True),
        Curve("Relative error of the gradient", "diagnostics/gradient_error", log=True),
        Curve("Cosine of gradient and exact gradient", "diagnostics/gradient_cosine"),
    ),
    "Schedule": (
        Bars("Epoch of the hybrid swap", "swap_epoch", configured=True),
        Curve("Learning rate", "learning_rate", PROTOCOL, log=True),
    ),
}


def panel(spec: Curve | Bars) -> Any:
    """A panel of wandb-workspaces."""
    import wandb_workspaces.reports.v2 as wr

    by = wr.Config(spec.by)
    if isinstance(spec, Curve):
        return wr.LinePlot(
            title=spec.title,
            x=EPOCH,
            y=[spec.metric],
            log_y=spec.log,
            groupby=by,
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_runs_to_show=100,
        )
    metric = wr.Config(spec.metric) if spec.configured else spec.metric
    return wr.BarPlot(
        title=spec.title, metrics=[metric], groupby=by, groupby_aggfunc="mean", groupby_rangefunc="stddev", max_runs_to_show=100
    )


def runs_of(experiment: str | None) -> str:
    """Filter of the runs; without one a mean would mix experiments."""
    return f"Config('experiment_name') = '{experiment}'" if experiment else ""


def build_workspace(entity: str, project: str, experiment: str | None = None) -> Any:
    """The workspace: runs grouped by layer and protocol, final errors as pinned columns, one section a question."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Global covariance pooling: {experiment or 'all experiments'}",
        sections=[
            ws.Section(name=name, panels=[panel(spec) for spec in specs], is_open=True) for name, specs in SECTIONS.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=EPOCH, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=runs_of(experiment),
            groupby=[ws.Config("experiment_name"), ws.Config(LAYER), ws.Config(PROTOCOL)],
            pinned_columns=list(COLUMNS),
        ),
    )


def build_report(entity: str, project: str, experiment: str | None = None) -> Any:
    """The same panels as a page to share; wandb-workspaces asks the server about its runs, so this needs a login."""
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents()]
    for name, specs in SECTIONS.items():
        runs = wr.Runset(
            entity=entity,
            project=project,
            name=experiment or "all runs",
            filters=runs_of(experiment),
            pinned_columns=list(COLUMNS),
        )
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=[panel(spec) for spec in specs])]
    return wr.Report(
        entity=entity,
        project=project,
        title=f"Global covariance pooling: layers and protocols, {experiment or 'all experiments'}",
        description="Made by gcp-dashboard of gcp_repro. Means over runs, with standard deviations.",
        blocks=blocks,
        width="fluid",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="gcp-dashboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entity", required=True, help="user or team that owns the project")
    parser.add_argument("--project", required=True, help="as in logger.wandb.project; it must have at least one run")
    parser.add_argument("--experiment", help="its runs alone, as in digits; without it means are over all experiments")
    parser.add_argument("--dry-run", type=Path, metavar="FILE", help="write the workspace as JSON and contact no server")
    options = parser.parse_args(arguments)
    with explained("gcp-dashboard"):
        _check_library()
        workspace = build_workspace(options.entity, options.project, options.experiment)
        if options.dry_run is None:
            publish(workspace, options.entity, options.project, options.experiment)
            return
        options.dry_run.parent.mkdir(parents=True, exist_ok=True)
        options.dry_run.write_text(json.dumps(workspace._spec, indent=2) + "\n", encoding="utf-8")
        print(f"{len(SECTIONS)} sections -> {options.dry_run}")


def _check_library() -> None:
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError as error:
        raise OptionError(
            'a dashboard needs wandb-workspaces, which is not installed: pip install "gcp_repro[wandb-dashboard]"'
        ) from error


def publish(workspace: Any, entity: str, project: str, experiment: str | None) -> None:
    """Save workspace and report on the server, and print where they are.

    Raises:
        OptionError: The server refuses.
    """
    import wandb

    try:
        for thing in (workspace, build_report(entity, project, experiment)):
            thing.save()
            print(f"{type(thing).__name__.lower()}: {thing.url}")
    except (wandb.Error, OSError, ValueError) as error:
        raise OptionError(
            f"a dashboard needs a login and a project with runs; W&B answered for {entity}/{project}: "
            f"{type(error).__name__}: {error}: run `wandb login`, check --entity and --project, or pass --dry-run FILE"
        ) from error


if __name__ == "__main__":
    main()
