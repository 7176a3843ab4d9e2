"""What documents say of the embedded experiment."""

from gcp_repro.paper.page.claims import make_claims
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from scripts.embedded_docs import findings_part
from tests.paper.fake_runs import write_sweep


def test_documents_quote_rows_and_nothing_that_depends_on_the_machine(tmp_path):
    write_sweep(tmp_path, layers=("gap", "isqrt_cov", "mpn_cov"))
    settings = find_settings(gather([tmp_path]))
    text = findings_part(settings)
    claims = make_claims(settings)
    assert all(sentence in text for claim in claims for sentence in claim.sentences)
    computed = [sentence for claim in claims for sentence in claim.computed]
    assert computed
    assert not any(sentence in text for sentence in computed)
