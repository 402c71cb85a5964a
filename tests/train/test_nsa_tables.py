"""The paper's constants become recipes, and the configuration has the last word."""

from __future__ import annotations

import pytest

from sad_runtime.errors import ConfigError
from sad_train.config import NsaConfig
from sad_train.data.profile import Profile
from sad_train.synthesis.foreground import Background
from sad_train.synthesis.nsa_recipe import recipe_for
from sad_train.synthesis.nsa_tables import BLACK, PAPER_CLASSES, WHITE

TEXTURES = {"carpet", "grid", "leather", "tile", "wood"}
PROFILE = Profile(
    kind="object",
    background_level=30.0,
    background_tolerance=20.0,
    foreground_share=0.3,
    foreground_box=(0.2, 0.1, 0.6, 0.9),
    aligned=True,
    alignment=0.9,
    noise_floor=5.0,
)


@pytest.mark.parametrize("name", sorted(PAPER_CLASSES))
def test_every_class_of_the_paper_makes_a_recipe(name: str) -> None:
    recipe = recipe_for(NsaConfig(paper_class=name), PROFILE)
    assert (recipe.gradients == "mixed") is (name in TEXTURES)
    assert recipe.resize == ((0.5, 2.0) if name in TEXTURES else (0.7, 1.3))
    assert recipe.max_patches == (4 if name in TEXTURES | {"screw", "zipper"} else 3)
    assert recipe.label == "logistic"
    assert recipe.min_overlap == 0.25
    assert (recipe.sizes, recipe.min_changed_px) == (((0.03, 0.05),), 50)
    for low, high in (recipe.half_height, recipe.half_width):
        assert 0 < low < high <= 0.40
    assert recipe.logistic == PAPER_CLASSES[name].logistic


def test_the_paper_has_fifteen_classes() -> None:
    assert len(PAPER_CLASSES) == 15
    assert {name for name, row in PAPER_CLASSES.items() if row.texture} == TEXTURES
    assert {name for name, row in PAPER_CLASSES.items() if row.background == WHITE} == {
        *("bottle", "capsule", "screw", "zipper")
    }
    assert {name for name, row in PAPER_CLASSES.items() if row.background == BLACK} == {
        *("hazelnut", "metal_nut", "pill", "toothbrush")
    }
    assert {name for name, row in PAPER_CLASSES.items() if row.epochs == 560} == {"hazelnut", "metal_nut", "screw"}


def test_a_class_that_the_paper_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"no class 'teapot'; it has bottle, cable"):
        recipe_for(NsaConfig(paper_class="teapot"), PROFILE)


def test_without_a_class_everything_is_measured() -> None:
    recipe = recipe_for(NsaConfig(), PROFILE)
    assert recipe.background == Background(30.0, 20.0)
    assert recipe.gradients == "source"
    assert recipe.half_height[1] == pytest.approx(0.4 * 0.4), "the part's box is 0.4 high and 0.8 wide"
    assert recipe.half_width[1] == pytest.approx(0.4 * 0.8)
    assert recipe.logistic == PROFILE.logistic


def test_a_texture_gets_mixed_gradients_and_no_background() -> None:
    texture = PROFILE.model_copy(update={"kind": "texture", "background_level": None, "background_tolerance": None})
    recipe = recipe_for(NsaConfig(), texture)
    assert recipe.gradients == "mixed"
    assert recipe.background is None


def test_what_the_configuration_says_wins_over_paper_and_measurement() -> None:
    said = NsaConfig(
        paper_class="screw",
        label="binary",
        gradients="mixed",
        max_patches=1,
        sizes=((0.1, 0.0),),
        half_height=(0.1, 0.2),
        half_width=(0.1, 0.3),
        resize=(1.0, 1.0),
        background=(128.0, 9.0),
        min_object=0.1,
        min_overlap=0.5,
        logistic=(0.5, 9.0),
    )
    for config in (said, said.model_copy(update={"paper_class": None})):
        recipe = recipe_for(config, PROFILE)
        assert (recipe.label, recipe.gradients, recipe.max_patches) == ("binary", "mixed", 1)
        assert recipe.sizes == ((0.1, 0.0),)
        assert (recipe.half_height, recipe.half_width, recipe.resize) == ((0.1, 0.2), (0.1, 0.3), (1.0, 1.0))
        assert recipe.background == Background(128.0, 9.0)
        assert (recipe.min_object, recipe.min_overlap, recipe.logistic) == (0.1, 0.5, (0.5, 9.0))
