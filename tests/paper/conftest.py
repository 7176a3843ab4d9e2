import pytest

from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_sweep


@pytest.fixture(scope="session")
def sweep_results(tmp_path_factory):
    """The digits sweep, gathered."""
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root)
    return gather([root])


@pytest.fixture(scope="session")
def sweep_setting(sweep_results):
    """Its only setting."""
    (only,) = find_settings(sweep_results)
    return only
