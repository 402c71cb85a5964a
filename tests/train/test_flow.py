"""The flows: invertible, with the true log-determinant, over an encoder that never changes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sad_train.losses.flow_likelihood import flow_likelihood_loss
from sad_train.networks.flow import EPSILON, Coupling, FastFlowNetwork, Flow, FlowShape
from sad_train.networks.resnet import ResNet

SHAPE = FlowShape(steps=3, kernels=(3, 1), hidden_ratio=1.0, clamp=2.0, seed=5)


def random_flow(channels: int, places: tuple[int, int] = (1, 1)) -> Flow:
    """In double precision, with weights that are anything but zero."""
    torch.manual_seed(1)
    flow = Flow(channels, SHAPE, places).double()
    for weight in flow.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return flow


def network(*, published: bool = True) -> FastFlowNetwork:
    torch.manual_seed(2)
    trunk = ResNet(18, 3, width=4, stages=3)
    return FastFlowNetwork(trunk, SHAPE, 64, gain_by_place=published, level_by_picture=published)


@pytest.mark.parametrize(("channels", "places"), [(4, (1, 1)), (5, (2, 3))])
def test_the_log_determinant_is_that_of_the_jacobian(channels: int, places: tuple[int, int]) -> None:
    flow = random_flow(channels, places)
    x = torch.randn(1, channels, 2, 3, dtype=torch.float64)
    found = flow(x)[1].detach()

    def flat(values: Tensor) -> Tensor:
        z: Tensor = flow(values.reshape(x.shape))[0]
        return z.flatten()

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten())  # type: ignore[no-untyped-call]
    assert abs(found.item()) > 0.1
    torch.testing.assert_close(found[0], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [4, 7])
def test_a_flow_can_be_turned_back(channels: int) -> None:
    flow = random_flow(channels)
    x = torch.randn(2, channels, 5, 4, dtype=torch.float64)
    z, _ = flow(x)
    assert not torch.allclose(z, x, atol=0.1)
    torch.testing.assert_close(flow.inverse(z), x, rtol=1e-8, atol=1e-8)


def test_an_untrained_flow_only_permutes() -> None:
    x = torch.randn(2, 6, 4, 4)
    z, log_det = Flow(6, SHAPE)(x)
    assert torch.equal(log_det, torch.zeros(2))
    assert torch.equal(z.sort(1).values, x.sort(1).values)
    assert not torch.equal(z, x)


def test_no_step_scales_by_more_than_the_clamp() -> None:
    step = Coupling(4, 3, SHAPE, torch.Generator())
    torch.nn.init.constant_(step.subnet.get_parameter("2.bias"), 1e6)
    _, log_det = step(torch.randn(1, 4, 3, 3))
    assert log_det.item() == pytest.approx(2 * 9 * SHAPE.clamp)


def test_permutations_are_those_of_the_seed_and_differ_from_step_to_step() -> None:
    first, again, other = (Flow(16, SHAPE._replace(seed=seed)) for seed in (5, 5, 6))
    orders = [[step.order for step in flow.steps] for flow in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(orders[0], orders[1], strict=True))  # type: ignore[arg-type]
    assert not torch.equal(orders[0][0], orders[0][1])  # type: ignore[arg-type]
    assert not torch.equal(orders[0][0], orders[2][0])  # type: ignore[arg-type]


def test_a_moving_average_leaves_permutations_alone() -> None:
    """Averaging rounds whole numbers down, and a channel would be taken twice."""
    flow = Flow(64, SHAPE)
    average = AveragedModel(flow, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True)  # type: ignore[no-untyped-call]
    for _ in range(20):
        average.update_parameters(flow)
    for step, averaged in zip(flow.steps, average.module.steps, strict=True):  # type: ignore[arg-type]
        assert torch.equal(step.order, averaged.order)  # type: ignore[arg-type]


def test_the_loss_is_the_mean_energy_less_the_mean_log_determinant() -> None:
    z = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 3.0]]]])
    found = flow_likelihood_loss(z, torch.tensor([0.5, 1.5]))
    assert float(found) == pytest.approx(((0.5 * 5 - 0.5) + (0.5 * 9 - 1.5)) / 2 / 2)


def test_training_a_flow_finds_the_spread_of_what_it_is_given() -> None:
    """Of values with standard deviation 3, the best gain is 1/3 and the loss ½ + log 3."""
    torch.manual_seed(0)
    flow = Flow(2, SHAPE._replace(steps=1))
    optimiser = torch.optim.Adam(flow.parameters(), 0.05)
    for _ in range(100):
        loss = flow_likelihood_loss(*flow(3 * torch.randn(16, 2, 8, 8)))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(loss.detach()) == pytest.approx(0.5 + math.log(3), abs=0.05)


def test_the_encoder_stays_as_it_is_when_the_flows_train() -> None:
    flows = network().train()
    assert flows.training
    assert flows.flows.training
    assert not any(module.training for module in flows.encoder.modules())
    assert not any(weight.requires_grad for weight in flows.encoder.parameters())
    before = {name: value.clone() for name, value in flows.encoder.state_dict().items()}
    seen = flows(torch.randn(2, 3, 64, 64))
    seen.heatmap.sum().backward()
    assert all(torch.equal(before[name], value) for name, value in flows.encoder.state_dict().items())
    assert all(weight.grad is not None for weight in flows.flows.parameters())


@torch.no_grad()
def test_the_heatmap_is_the_mean_of_the_enlarged_distances_and_never_saturates() -> None:
    flows = network().eval()
    seen = flows(torch.randn(2, 3, 64, 64))
    assert seen.heatmap.shape == (2, 1, 16, 16)
    assert seen.features.shape == (2, 16, 4, 4)
    for flow in flows.flows:
        flow.log_gain.add_(math.log(100))  # type: ignore[operator]
    picture = torch.randn(2, 3, 64, 64)
    distances = [torch.log(1 + 0.5 * z.square().mean(1, keepdim=True)) for z, _ in flows.flowed(picture)[0]]
    enlarged = [
        torch.nn.functional.interpolate(one, size=(16, 16), mode="bilinear", align_corners=False) for one in distances
    ]
    heatmap = flows(picture).heatmap
    torch.testing.assert_close(heatmap, torch.stack(enlarged).mean(0))
    assert heatmap.mean() > 7  # the paper's own would be 1 all over, whatever the gain


def test_levelled_by_the_set_a_place_is_judged_without_the_rest_of_its_picture() -> None:
    """With the published levelling, a change in one corner moves every place of the heatmap."""
    flows = network(published=False).train()
    for _ in range(60):
        z = flows.flowed(torch.randn(8, 3, 64, 64))[0][0][0]
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-3)
    flows.eval()
    level, x = flows.levels[0], torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(level(x), level.seen(x), rtol=1e-4, atol=1e-4)  # type: ignore[operator]
    with torch.no_grad():
        picture = torch.randn(1, 3, 64, 64)
        changed = picture.clone()
        changed[..., :8, :8] += 5
        far = (slice(None), slice(None), slice(12, 16), slice(12, 16))
        for levels, alike in ((flows, True), (network().eval(), False)):
            one, other = (levels.flowed(seen)[0][0][0][far] for seen in (picture, changed))
            assert torch.equal(one, other) is alike


@torch.no_grad()
def test_every_map_is_levelled_over_its_channels_and_places() -> None:
    """An untrained flow only permutes, so its energies are those of the levelled map: half a number on average."""
    flows = network().eval()
    flowed, last = flows.flowed(torch.randn(3, 3, 64, 64))
    for z, _ in flowed:
        torch.testing.assert_close(z.mean((1, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
        torch.testing.assert_close(z.square().mean((1, 2, 3)), torch.ones(3), rtol=0, atol=100 * EPSILON)
    assert last.shape == (3, 16, 4, 4)
