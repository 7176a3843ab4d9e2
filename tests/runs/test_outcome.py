import json

import pytest

from gcp_repro.runs import RunDirectory
from gcp_repro.runs.outcome import exit_code_of, recorded_result, summary
from tests.runs.test_schema import RESULT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[]", "needs an object; got list"),
        ('{"schema": 2, "status": "fin', "not JSON"),
        ("{}", "needs schema 2"),
    ],
)
def test_what_is_no_result_is_set_aside_with_a_line(tmp_path, caplog, text, reason):
    run = RunDirectory(tmp_path)
    run.result.write_text(text)
    assert recorded_result(run) is None
    assert not run.result.exists()
    assert (tmp_path / "result.json.damaged").read_text() == text
    (line,) = caplog.messages
    assert reason in line
    assert "it is now result.json.damaged, and the run goes on from its last checkpoint" in line


def test_results_are_what_the_file_says(tmp_path):
    run = RunDirectory(tmp_path)
    assert recorded_result(run) is None
    diverged = RESULT | {"status": "diverged", "diverged_epoch": 3, "diverged_batch": 17, "diverged_cause": "loss"}
    for result, code, line in (
        (RESULT | {"best_top1_error": 2.25, "wall_time_seconds": 4.0}, 0, f"error 2.50 % (best 2.25 %) in 4.0 s | {tmp_path}"),
        (diverged, 3, f"diverged in epoch 3, batch 17: loss not finite | {tmp_path}"),
    ):
        run.result.write_text(json.dumps(result))
        assert recorded_result(run) == result
        assert exit_code_of(result) == code
        assert summary(result, run) == line
