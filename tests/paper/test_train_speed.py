import pytest

from gcp_repro.paper.plan import IMAGENET_IMAGES, PlannedRun, gpu_hours
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.train_speed import read_train_speeds
from tests.paper.fake_runs import write_run

HEAD = "experiment,meta_layer,precision,images_per_second,device,tiny\n"
RUN = PlannedRun("2", "alexnet_imagenet", "svd_pade", "hybrid", None, 0, 30, IMAGENET_IMAGES)


def test_hours_come_from_measured_steps_where_there_are_no_runs(tmp_path):
    (tmp_path / "steps.csv").write_text(
        HEAD
        + "alexnet_imagenet,svd_pade,32-true,1000,NVIDIA H100,False\n"
        + "alexnet_imagenet,svd_pade,32-true,9,cpu,False\n"
        + "alexnet_imagenet,svd_pade,32-true,8,NVIDIA H100,True\n"
        + "alexnet_imagenet,svd_pade,16-mixed,6,NVIDIA H100,False\n"
        + "resnet50_imagenet,svd_pade,32-true,7,NVIDIA H100,False\n"
    )
    (tmp_path / "other.csv").write_text("layer,seconds\nsvd_pade,1\n")
    speeds = read_train_speeds([tmp_path, tmp_path / "absent.csv"])
    assert gpu_hours(RUN, gather([]), speeds) == pytest.approx(RUN.images / 1000 / 3600)
    write_run(tmp_path / "runs", "alexnet_imagenet", "svd_pade", seed=6, device="NVIDIA H100", samples_per_second=2000.0)
    fast = {"device": "NVIDIA H100", "samples_per_second": 9000.0, "precision": "16-mixed"}
    write_run(tmp_path / "runs", "alexnet_imagenet", "svd_pade", seed=7, **fast)
    assert gpu_hours(RUN, gather([tmp_path / "runs"]), speeds) == pytest.approx(RUN.images / 2000 / 3600)


def test_without_files_nothing_is_estimated(tmp_path):
    assert gpu_hours(RUN, gather([]), read_train_speeds([tmp_path])) is None
