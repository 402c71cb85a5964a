"""The anomalies of method reseg: each kind changes what its label says, tiny ones included, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from sad_runtime.cameras.demo.parts import render
from sad_runtime.errors import ConfigError
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.pixels import Picture
from sad_train.synthesis.hairline import hairline
from sad_train.synthesis.local_change import CHANGES
from sad_train.synthesis.missing_part import filled
from sad_train.synthesis.mix import SHARES, SHOWN, Mix, Mixed, mix_for, mixed_anomaly
from sad_train.synthesis.region import drawn_region, uneven
from sad_train.synthesis.spot import spot

SEEDS = range(12)
SIDE = 96


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def part_of(name: str, channels: int = 3, index: int = 0) -> Picture:
    return np.ascontiguousarray(render(name, seed=1, index=index, size_px=SIDE).image[..., :channels])


def mix_of(goods: list[Picture], **shares: float) -> Mix:
    mix = dict.fromkeys(SHARES, 0.0) | shares if shares else {}
    config = parse(TrainConfig, {"method": "reseg", "size_px": SIDE, "reseg": {"mix": mix, "most_kinds": 1}}, "test")
    return mix_for(config, measured_profile(goods))


def made_of(good: Picture, other: Picture, mix: Mix, seed: int) -> Mixed:
    made = mixed_anomaly(good, lambda: other, mix, drawn(seed))
    assert made is not None
    return made


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize("part", ["washer", "fabric"])
def test_every_kind_shows_where_its_label_says(part: str, kind: str, channels: int) -> None:
    good, other = part_of(part, channels), part_of(part, channels, 1)
    kept, mix = good.copy(), mix_of([good, other], **{kind: 1.0})
    for seed in SEEDS:
        made, again = (made_of(good, other, mix, seed) for _ in range(2))
        assert np.array_equal(made.picture, again.picture)
        assert (made.picture.shape, made.picture.dtype) == (good.shape, np.uint8)
        assert made.kinds == (kind,)
        assert SHOWN < made.label.max() <= 1
        assert made.label.dtype == np.float32
        change = np.abs(made.picture.astype(int) - good).max(2)
        assert change[made.label > SHOWN].mean() > 3
    assert np.array_equal(good, kept)


def test_large_changes_are_never_left_without_a_label() -> None:
    """A pixel that is called good is hardly changed: all kinds at once, on a part with a background."""
    good, other = part_of("washer"), part_of("washer", index=1)
    mix = mix_of([good, other])
    missed = []
    for seed in range(60):
        made = made_of(good, other, mix, seed)
        change = np.abs(made.picture.astype(int) - good).mean(2)
        missed.append(float(((change > 40) & (made.label < 0.1)).sum() / max(1, (change > 40).sum())))
    assert np.mean(missed) < 0.1


def test_a_line_of_one_pixel_and_a_spot_of_two_keep_their_label() -> None:
    good = np.full((SIDE, SIDE, 3), 120, np.uint8)
    everywhere = np.ones((SIDE, SIDE), bool)
    areas = []
    for make in (hairline, spot):
        for seed in range(30):
            pasted = make(good, everywhere, drawn(seed))
            assert pasted is not None
            areas.append(int(pasted.mask.sum()))
            assert pasted.mask.any()
            assert (pasted.picture[pasted.mask] != good[pasted.mask]).any()
    assert min(areas) < 12
    mix = mix_of([part_of("washer")], spot=1.0)
    smallest = min(int((made_of(part_of("washer"), good, mix, seed).label > 0.5).sum()) for seed in range(30))
    assert 1 <= smallest <= 12


def test_kinds_come_by_their_shares() -> None:
    good, other = part_of("washer"), part_of("washer", index=1)
    mix = mix_of([good, other], nsa=0.5, spot=0.5)
    kinds = [made_of(good, other, mix, seed).kinds[0] for seed in range(60)]
    assert 18 <= kinds.count("nsa") <= 42
    assert set(kinds) == {"nsa", "spot"}


@pytest.mark.parametrize(("mix", "said"), [({"rust": 1.0}, "no kind rust"), ({"nsa": -1.0}, "0 or more")])
def test_shares_that_cannot_be_are_refused(mix: dict[str, float], said: str) -> None:
    config = parse(TrainConfig, {"method": "reseg", "reseg": {"mix": mix}}, "test")
    with pytest.raises(ConfigError, match=said):
        mix_for(config, measured_profile([part_of("washer")]))


def test_regions_lie_on_the_part_and_have_about_their_radius() -> None:
    part = np.zeros((SIDE, SIDE), bool)
    part[30:60, 20:70] = True
    for seed in SEEDS:
        region = drawn_region(part, (3.0, 10.0), drawn(seed))
        assert region is not None
        there = np.zeros(part.shape, np.float32)
        there[region.place] = region.alpha
        assert 3 <= region.radius_px <= 10
        assert 0.3 < there.sum() / (np.pi * region.radius_px**2) < 3
        assert (there[part] > 0.5).any()
    assert drawn_region(np.zeros_like(part), (3.0, 10.0), drawn(0)) is None


@pytest.mark.parametrize("grain", [1.0, 2.5, 40.0])
def test_uneven_noise_has_the_size_asked_for_whatever_its_grain(grain: float) -> None:
    noise = uneven((17, 30), grain, drawn(0))
    assert noise.shape == (17, 30)
    assert np.abs(noise).max() < 2


def test_what_is_missing_is_filled_from_its_surroundings() -> None:
    ramp = np.repeat(np.linspace(60, 180, 40).round().astype(np.uint8)[None], 40, axis=0)[..., None].copy()
    inside = np.zeros((40, 40), bool)
    inside[12:28, 12:28] = True
    holed = ramp.copy()
    holed[inside] = 10
    made = filled(holed, inside)
    assert np.abs(made[inside].astype(int) - ramp[inside]).max() <= 12
    assert np.array_equal(made[0], ramp[0])


@pytest.mark.parametrize("change", CHANGES)
def test_changes_keep_shape_and_stay_finite_on_tiny_regions(change: object) -> None:
    assert callable(change)
    region = drawn_region(np.ones((SIDE, SIDE), bool), (2.0, 2.0), drawn(1))
    assert region is not None
    here = np.full((*region.alpha.shape, 1), 100, np.float32)
    made = change(here, region, drawn(2))
    assert made.shape == here.shape
    assert np.isfinite(made).all()
