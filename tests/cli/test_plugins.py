"""A layer of another package: chosen by name, trained, scored, measured and drawn like those of this one."""

from __future__ import annotations

import json

from tests.fakes.plugins import install, run

PLUGIN = """
    from typing import Annotated

    from gcp_repro.linalg import SpectralFunction, register_function, register_rule
    from gcp_repro.linalg.functions import sqrt
    from gcp_repro.linalg.machinery.options import Above
    from gcp_repro.metalayers import CovariancePooling, MetaLayer, register_meta_layer

    def scaled_root(scale: Annotated[float, Above(0)] = 1.0):
        def gradient(eigenvalues):
            exact = sqrt().gradient(eigenvalues)
            return exact._replace(table=scale * exact.table)

        return SpectralFunction("scaled_root", lambda eigenvalues: scale * eigenvalues.sqrt(), gradient)

    register_function("scaled_root", scaled_root)
    register_rule("capped", quotient=lambda larger, smaller: 1 / (larger - smaller).clamp(min=1e-3))
    register_meta_layer(
        "my_root", CovariancePooling, description="a scaled root", source="here", family="svd",
        fixed={"forward": "scaled_root", "gradient": "capped"}, defaults={"dtype": "float64", "route": "auto", "scale": 2.0},
    )
"""

SESSION = """
    import glob, sys
    from gcp_repro.cli import bench, evaluate, train

    def command(main, *arguments):
        sys.argv = ["gcp-train", *arguments]
        main()

    tiny = {tiny!r}
    command(train.main, *tiny, "meta_layer=my_root", "meta_layer.scale=0.5")
    command(train.main, *tiny, "meta_layer=spectral", "meta_layer.forward=scaled_root", "meta_layer.gradient=capped")
    for path in glob.glob("runs/**/last.ckpt", recursive=True):
        command(evaluate.main, "checkpoint=" + path, "accelerator=cpu")
    bench.main("layers --layers my_root --shapes 2x4x3x3 --repeats 1 --no-memory --dtypes float64 --routes gram".split())
    try:
        command(train.main, *tiny, "meta_layer=my_rot")
    except SystemExit as stop:
        assert stop.code
"""


def test_a_layer_of_another_package_in_every_command(tmp_path, tiny_overrides):
    install(tmp_path, "my_layers", "my_layers", PLUGIN)
    tiny = [*tiny_overrides, "schedule.epochs=1", "schedule.milestones=[]"]
    done = run(tmp_path, SESSION.format(tiny=tiny))
    assert done.returncode == 0, done.stderr
    results = sorted(
        (json.loads(path.read_text()) for path in tmp_path.rglob("result.json")), key=lambda result: result["meta_layer"]
    )
    assert [result["meta_layer"] for result in results] == ["my_root", "spectral"]
    assert results[0]["meta_layer_options"] == "scale=0.5"
    assert results[1]["meta_layer_options"] == "forward=scaled_root, gradient=capped"
    for result in results:
        assert f"val/top1_error {result['final_top1_error']}" in done.stdout
    assert "my_root" in done.stdout  # the table of gcp-bench
    assert "no meta_layer 'my_rot'; nearest: 'my_root'" in done.stderr
