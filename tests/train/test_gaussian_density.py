"""The densities against scikit-learn's shrunk covariance and against distances worked out the plain way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from sad_runtime.errors import DataError
from sad_train.networks.gaussian_density import GaussianDensity, directions, ledoit_wolf, whitening_of
from sad_train.networks.patch_density import PatchDensity


def samples(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Correlated and far from round, as embeddings are."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) * np.geomspace(1, 0.01, size)
    return torch.from_numpy(mixed + rng.normal(size=size))


@pytest.mark.parametrize(("count", "size"), [(8, 32), (50, 16), (4000, 8)])
def test_the_shrunk_covariance_is_that_of_scikit_learn(count: int, size: int) -> None:
    x = samples(count, size)
    centred = x - x.mean(0)
    fourth = float((centred**2).sum(1).square().sum())
    ours = ledoit_wolf(centred.T @ centred, fourth, count)
    np.testing.assert_allclose(ours.numpy(), LedoitWolf().fit(x.numpy()).covariance_, rtol=1e-9, atol=1e-12)


def test_the_distance_is_mahalanobis_of_directions_per_dimension() -> None:
    x, new = samples(60, 12), samples(5, 12, seed=9)
    density = GaussianDensity(12)
    density.fit([x[:25], x[25:]])
    fitted = LedoitWolf().fit(directions(x).numpy())
    expected = np.sqrt(fitted.mahalanobis(directions(new).numpy()) / 12)
    np.testing.assert_allclose(density(new.float()).numpy(), expected, rtol=1e-4)


def test_good_pictures_stand_near_one_and_others_farther() -> None:
    x = samples(400, 16)
    density = GaussianDensity(16)
    density.fit([x[:300]])
    good, other = density(x[300:].float()), density(-x[300:].float())
    assert float(good.mean()) == pytest.approx(1, abs=0.2)
    assert float(other.min()) > float(good.max())


def test_dimensions_that_never_vary_give_finite_distances() -> None:
    x = samples(20, 16)
    x[:, 4:] = 0
    density = GaussianDensity(16)
    density.fit([x])
    assert bool(density(torch.cat([x.float(), torch.zeros(1, 16), torch.full((1, 16), 1e4)])).isfinite().all())
    assert bool(whitening_of(torch.zeros(4, 4).double()).isfinite().all())


def test_too_few_pictures_are_refused_with_their_number() -> None:
    with pytest.raises(DataError, match="7 good pictures to fit a density to; at least 8"):
        GaussianDensity(4).fit([samples(7, 4)])
    with pytest.raises(DataError, match="3 good pictures"):
        PatchDensity(4, 2, by_place=True).fit(lambda: iter([samples(3 * 4, 4).reshape(3, 4, 2, 2).float()]))


def maps(count: int = 40, size: int = 6, places: int = 5) -> torch.Tensor:
    """(count, size, places, places): each place about a mean of its own."""
    generator = torch.Generator().manual_seed(2)
    means = torch.randn((1, size, places, places), generator=generator)
    return means + 0.1 * torch.randn((count, size, places, places), generator=generator)


def test_each_place_of_an_aligned_part_has_its_own_mean() -> None:
    x = maps()
    density = PatchDensity(6, 5, by_place=True)
    density.fit(lambda: iter(torch.split(x, 16)))
    swapped = x.roll(1, 3)
    assert float(density(x).mean()) == pytest.approx(1, abs=0.1)
    assert float(density(swapped).median()) > 20


def test_places_of_parts_that_lie_anyhow_share_one_mean() -> None:
    x = maps()
    density = PatchDensity(6, 5, by_place=False)
    density.fit(lambda: iter(torch.split(x, 16)))
    assert torch.allclose(density(x).roll(1, 3), density(x.roll(1, 3)), atol=1e-4)
    flat = directions(x.double()).movedim(1, -1).reshape(-1, 6).numpy()
    expected = LedoitWolf().fit(flat).mahalanobis(flat) / 6
    np.testing.assert_allclose(density(x).numpy().ravel(), expected, rtol=1e-3, atol=1e-4)


def test_a_place_that_varies_more_counts_less() -> None:
    x = maps(places=9)
    x[:, :, :3, :3] += 0.3 * torch.randn((40, 6, 3, 3), generator=torch.Generator().manual_seed(4))
    density = PatchDensity(6, 9, by_place=True)
    density.fit(lambda: iter([x]))
    assert float(density.weight[0, 0, 1, 1]) < 0.3 * float(density.weight[0, 0, 7, 7])
