import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.training.diagnostics.diagnostic import Sample
from gcp_repro.training.diagnostics.smoothness import BetaSmoothness, ParameterSmoothness, effective_smoothness
from tests.tolerances import rounding

TOLERANCE = rounding(condition=100, dtype=torch.float32)  # two gradients are subtracted that differ by a hundredth or more


def linear_network(weight):
    """Two classes, one feature: the loss is log(1 + exp(-2 w x)) for label 0."""
    network = nn.Module()
    network.meta_layer = nn.Identity()
    network.classifier = nn.Linear(1, 2, bias=False)
    network.forward = lambda images: network.classifier(network.meta_layer(images))
    with torch.no_grad():
        network.classifier.weight.copy_(torch.tensor([[weight], [-weight]]))
    return network


def sigmoid(x):
    return torch.sigmoid(torch.tensor(x)).item()


def test_smoothness_of_a_quadratic_is_its_curvature():
    curvature = torch.tensor([1.0, 3.0])
    assert effective_smoothness(lambda x: curvature * x, torch.tensor([0.0, 2.0]), [0.1, 1.0, 5.0]) == pytest.approx(
        3.0, rel=TOLERANCE
    )


def test_smoothness_is_the_largest_over_the_steps():
    # g(x) = x^3 at 1: |(1 - eta)^3 - 1| / eta = 1.75 at 0.5, 1.0 at 1, 1.0 at 2
    assert effective_smoothness(lambda x: x**3, torch.tensor([1.0]), [2.0, 0.5, 1.0]) == pytest.approx(1.75, rel=TOLERANCE)


def test_smoothness_needs_a_gradient():
    assert effective_smoothness(torch.zeros_like, torch.ones(3), [1.0]) is None


def test_smoothness_is_measured_through_layer_and_classifier():
    """g(x) = -2 w s(-2 w x)."""
    network = linear_network(1.5)

    def g(x):
        return -3 * sigmoid(-3 * x)

    x, rate = 0.2, 0.1
    expected = max(abs(g(x - f * rate * g(x)) - g(x)) / abs(f * rate * g(x)) for f in (0.5, 4.0))
    sample = Sample(torch.empty(1, 0), torch.tensor([[x]]), torch.tensor([0]))
    values = BetaSmoothness(step_factors=[0.5, 4.0]).measure(network, sample, rate)
    assert values["beta_smoothness"] == pytest.approx(expected, rel=TOLERANCE)
    assert network.classifier.weight.grad is None


def test_smoothness_of_several_images_is_that_of_their_mean_loss():
    network = linear_network(1.5)
    features, labels = torch.tensor([[0.2], [-0.4], [0.9]]), torch.tensor([0, 1, 1])

    def gradient(x):
        x = x.clone().requires_grad_()
        loss = nn.functional.cross_entropy(network.classifier(x), labels)
        return torch.autograd.grad(loss, x)[0]

    expected = effective_smoothness(lambda points: torch.stack([gradient(p) for p in points]), features, [0.05, 0.1])
    sample = Sample(torch.empty(3, 0), features, labels)
    values = BetaSmoothness(step_factors=[0.5, 1.0]).measure(network, sample, 0.1)
    assert values["beta_smoothness"] == pytest.approx(expected, rel=TOLERANCE)


def test_smoothness_in_parameter_space_moves_the_weights():
    """Weights (w, -w): the gradient is (-x s, x s) with s = s(-2 w x), and a step of eta adds eta x s to w."""
    weight, x, rate = 1.5, 0.7, 0.1
    slope = sigmoid(-2 * weight * x)
    moved = sigmoid(-2 * (weight + rate * x * slope) * x)
    network = linear_network(weight)
    sample = Sample(torch.tensor([[x]]), torch.empty(1, 0), torch.tensor([0]))
    values = ParameterSmoothness(step_factors=[1.0]).measure(network, sample, rate)
    assert values == {"parameter_smoothness": pytest.approx(abs(moved - slope) / (rate * slope), rel=TOLERANCE)}
    assert network.classifier.weight.flatten().tolist() == [weight, -weight]
    assert network.classifier.weight.grad is None


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match=r"step_factors of beta_smoothness need positive numbers; got \[0.0\]"):
        BetaSmoothness(step_factors=[0.0])
