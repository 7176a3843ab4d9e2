# %% [markdown]
# # Reproduce a table
#
# Table 9 of the paper, computed beside what was printed; what Table 2 would take; and its rows on small images.
#
# Tables 6 to 10 need no training. Table 9 is the error of the Pade approximants of `1 / (1 - x)`, at ratios of eigenvalues ever nearer to 1.

# %%
from gcp_repro.paper.analytic.approximation import table9
from gcp_repro.paper.tables.export import to_markdown

print(to_markdown([table9()]))

# %% [markdown]
# Tables 2, 3, 4 and 11 are of ImageNet and fine-grained sets. `gcp-tables --plan` lists each missing run as a command, and what it costs where that was measured.

# %%
from gcp_repro.paper.plan import missing_runs
from gcp_repro.paper.store.results import gather

missing = missing_runs(gather([]))
print(len(missing), "runs, the first:", missing[0].command)

# %% [markdown]
# On images that come with the package the same rows take ten minutes, `gcp-reproduce`, or two to three with `--quick`: five seeds of each arm. Every run is a configuration:

# %%
from gcp_repro.cli.reproduce import plans

for plan in plans(quick=True)[::5]:
    print("gcp-train", *plan.overrides)

# %% [markdown]
# The report, `reports/index.html`, sets the measured tables beside the published ones. [Findings](../docs/findings.md) says what came out, and
# [notes on the paper](../docs/paper_notes.md) where the printed numbers and the recomputed ones part.
