import pytest
import torch

from gcp_repro.linalg.pooling import operators_for
from gcp_repro.linalg.solvers import Solvers, SolverTime, active_solvers, has_choice, using, work_of
from gcp_repro.metalayers import META_LAYERS, build_meta_layer

ISQRT = build_meta_layer("isqrt_cov").spec
WORK = work_of(ISQRT)


def times(*rows, work=WORK, device="cpu"):
    return [SolverTime(device, work, channels, positions, solver, seconds) for channels, positions, solver, seconds in rows]


def solver_of(solvers, channels=64, positions=36, spec=ISQRT):
    recipe = solvers.recipe(spec, torch.empty(2, channels, positions))
    return recipe.partition("solver='")[2].partition("'")[0]


def test_without_measurements_the_rule_decides():
    assert solver_of(Solvers()) == "device"


def test_the_fastest_at_the_nearest_size_is_taken():
    measured = times((64, 36, "device", 2.0), (64, 36, "products", 1.0), (256, 169, "device", 1.0), (256, 169, "products", 3.0))
    solvers = Solvers(measured)
    assert solver_of(solvers, 48, 49) == "products"
    assert solver_of(solvers, 256, 196) == "device"
    assert solvers.taken == {"device", "products"}


@pytest.mark.parametrize(
    "measured",
    [
        times((64, 36, "products", 1.0), device="cuda"),
        times((64, 36, "products", 1.0), work="log exact gram float64 standard"),
        times((256, 72, "products", 1.0)),  # three doublings away
    ],
)
def test_measurements_of_something_else_say_nothing(measured):
    assert solver_of(Solvers(measured)) == "device"


@pytest.mark.parametrize(
    ("name", "options", "work"),
    [
        ("isqrt_cov", {}, "newton_schulz exact gram float64 standard"),
        ("svd_lyapunov", {"accuracy": "high"}, "sqrt exact gram float64 high"),
        ("svd_pade", {"dtype": "mixed"}, "sqrt table gram mixed standard"),
        ("svd_pade", {"route": "dense", "dtype": "float32"}, "sqrt table dense float32 standard"),
    ],
)
def test_work_is_told_apart_by_what_takes_time(name, options, work):
    assert work_of(build_meta_layer(name, **options).spec) == work


def test_only_layers_with_a_choice_ask():
    assert has_choice(ISQRT)
    for options in ({"solver": "products"}, {"dtype": "float32", "route": "dense", "float32_centering": True}):
        spec = build_meta_layer("isqrt_cov", **options).spec
        assert not has_choice(spec)
        assert Solvers().recipe(spec, torch.empty(2, 4, 9)) == spec.text


@pytest.mark.parametrize("name", ["svd_lyapunov", "isqrt_cov"])
def test_layers_compute_with_the_solver_that_is_chosen(name):
    layer, features = build_meta_layer(name), torch.rand(2, 6, 30, dtype=torch.float64)
    chosen = build_meta_layer(name, solver="products")(features)
    assert not torch.equal(layer(features), chosen)  # they round differently
    with using(Solvers(times((6, 30, "products", 1.0), (6, 30, "device", 2.0), work=work_of(layer.spec)))):
        assert torch.equal(layer(features), chosen)
    assert active_solvers().times == ()


def test_solvers_go_in_any_order():
    """As those of two trainings that take turns in one process."""
    rule, first, second = active_solvers(), Solvers(), Solvers()
    of_first, of_second = using(first), using(second)
    of_first.__enter__()
    of_second.__enter__()
    of_first.__exit__(None, None, None)
    assert active_solvers() is second
    with using(second):
        assert active_solvers() is second
    assert active_solvers() is second
    of_second.__exit__(None, None, None)
    assert active_solvers() is rule


CHOOSING = [(name, {}) for name in META_LAYERS if hasattr(build_meta_layer(name), "spec")]


@pytest.mark.parametrize("fastest", ["device", "host", "products"])
@pytest.mark.parametrize(("name", "options"), [*CHOOSING, ("spectral", {"top_n": 4}), ("spectral", {"moment": "second_moment"})])
def test_a_solver_that_a_layer_does_not_have_is_no_choice_for_it(name, options, fastest):
    """Work is told apart by what takes time; the root of another moment, or of few eigenvalues, has no products."""
    layer, features = build_meta_layer(name, **options), torch.rand(2, 6, 30, dtype=torch.float64, requires_grad=True)
    others = {"device", "host", "products"} - {fastest}
    measured = times((6, 30, fastest, 1.0), *((6, 30, other, 2.0) for other in sorted(others)), work=work_of(layer.spec))
    with using(solvers := Solvers(measured)):
        layer(features).sum().backward()
    available = operators_for(layer.spec, 2)
    assert fastest not in available or solvers.taken == {fastest}
    assert solvers.taken <= set(available)
    assert features.grad.isfinite().all()


def test_graphs_follow_the_rule():
    layer, features = build_meta_layer("isqrt_cov"), torch.rand(2, 6, 30, dtype=torch.float64)
    expected = layer(features)
    with using(Solvers(times((6, 30, "products", 1.0)))):
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        assert torch.equal(compiled(features), expected)
    torch._dynamo.reset()
