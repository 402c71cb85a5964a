"""What a training run can be told. A YAML preset fills it (`configs/train/<method>-<preset>.yaml`), flags override it.

Every default here is the `fast` preset's. Whatever is None is measured from the good set (profile.py).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from sad_runtime.manifest import Roi
from sad_runtime.schema import Strict

LabelMode = Literal["binary", "continuous", "logistic"]
GradientMode = Literal["source", "mixed", "swap"]


SIDE_STEP_PX = 32
"""The networks halve the picture five times."""


def unquoted(given: object) -> object:
    """YAML reads a bare on or off as true or false."""
    return {True: "on", False: "off"}[given] if isinstance(given, bool) else given


class NsaConfig(Strict):
    """Natural Synthetic Anomalies (Schlüter et al., ECCV 2022). Lengths are shares of the picture's side."""

    paper_class: str | None = None
    """A class of the paper's tables (`bottle`, `screw`, …) to take every constant below from."""
    label: LabelMode = "logistic"
    gradients: GradientMode | None = None
    """Poisson guidance: None picks `source` for objects, `mixed` for textures. `swap` pastes hard, without blending."""
    shape: Literal["box", "ellipses"] = "box"
    """Outline of patches; five ellipses each make rounder anomalies and want a longer training."""
    max_patches: int | None = Field(default=None, ge=1, le=16)
    sizes: tuple[tuple[float, float], ...] | None = None
    """(least, scale) of half-sizes, least + Gamma(2, scale); each patch draws one of the pairs."""
    half_height: tuple[float, float] | None = None
    half_width: tuple[float, float] | None = None
    resize: tuple[float, float] | None = None
    background: tuple[float, float] | None = None
    """(grey level, tolerance): pixels nearer than the tolerance to the grey level are background."""
    min_object: float | None = Field(default=None, ge=0, le=1)
    min_object_of: Literal["source", "destination"] | None = None
    """Whose part must fill `min_object` of the place: the patch's own (the authors' rule) or the destination's."""
    min_overlap: float = Field(default=0.25, ge=0, le=1)
    logistic: tuple[float, float] | None = None
    """(k, x0) of the label's logistic, in 1/grey levels and grey levels."""


class CutPasteConfig(Strict):
    """CutPaste and CutPaste-Scar (Li et al., CVPR 2021)."""

    area: tuple[float, float] = (0.02, 0.15)
    """Of a pasted rectangle, as a share of the picture or crop."""
    aspect: tuple[float, float] = (0.3, 3.3)
    """Width to height of a pasted rectangle; half of them are wider than high."""
    jitter: float = Field(default=0.1, ge=0, le=0.5)
    """How far the brightness, contrast, saturation and hue of what is pasted are shaken."""
    scar_width_px: tuple[float, float] = (2, 16)
    """In a picture of 256 pixels; scaled to others."""
    scar_length_px: tuple[float, float] = (10, 25)
    scar_rotation_deg: float = Field(default=45, ge=0, le=180)
    patch_px: int | None = Field(default=None, ge=32, le=64, multiple_of=8)
    """Side of the crops that the heatmap comes from; None: 64, or 32 for pictures below 256 pixels."""
    patches: int = Field(default=8, ge=1, le=64)
    """Crops that an example brings beside its picture."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> CutPasteConfig:
        for name in ("area", "aspect", "scar_width_px", "scar_length_px"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}: [{low}, {high}] must rise, from above 0")
        if self.area[1] > 1:
            raise ValueError(f"area: {self.area[1]} is more than the whole picture")
        if not self.aspect[0] <= 1 <= self.aspect[1]:
            raise ValueError(f"aspect: {list(self.aspect)} must hold 1, the square")
        return self


class AnoSegConfig(Strict):
    """AnoSeg (Song et al., 2021). A weight of 0 leaves its term out."""

    adversarial: float = Field(default=0.1, ge=0)
    """Weight of the term that deceives the discriminator of (picture, heatmap) pairs."""
    reconstruction: float = Field(default=0.5, ge=0)
    """Weight of the term that has the network's features hold what good pictures look like."""
    areas: tuple[tuple[float, float], ...] = Field(default=((0.002, 0.02), (0.02, 0.15)), min_length=1)
    """(least, most) area of a pasted region as a share of the picture's; each region draws one of the pairs."""
    most_regions: int = Field(default=4, ge=1, le=16)
    """One is pasted for certain, each further one with a chance of a half."""


class FastFlowConfig(Strict):
    """FastFlow (Yu et al., 2021): flows over a frozen encoder, which `network` names."""

    backbone: str | None = None
    """The encoder's weights: a file (torchvision's or timm's ResNet) or a run of --method backbone. None: one is first
    learnt from the training pictures, into the folder `backbone` of the run."""
    backbone_licence: str = "not stated"
    """Under what terms the file may be used; goes into the bundle."""
    backbone_steps: int | None = Field(default=None, ge=1)
    """Training steps of a backbone that is learnt first; None: as its own preset says, at most as many as this run."""
    steps: int = Field(default=8, ge=1, le=32)
    """Coupling steps of each flow."""
    kernels: tuple[Literal[1, 3, 5], ...] = Field(default=(3,), min_length=1)
    """Sides of the steps' convolutions, taken in turn. The paper alternates 3 and 1 over large encoders."""
    hidden_ratio: float = Field(default=1.0, gt=0, le=8)
    clamp: float = Field(default=2.0, gt=0, le=4)
    """Most that a step may scale by, as a logarithm."""
    level: Literal["picture", "set"] = "set"
    """What maps are levelled by: each picture's own mean and spread, as published, or each channel's over the set. A
    large defect shifts its picture's own, and with it every place of the heatmap."""
    gain_by_place: bool = False
    """A gain and a shift for every place of the map, as published; wants many pictures of parts that lie alike."""


class ResegConfig(Strict):
    """Restore and segment. A weight of 0 leaves its term out."""

    restores: bool = True
    """False: the head sees the picture alone; to measure what the restorer brings."""
    places: Literal["auto", "on", "off"] = "auto"
    """Whether what is restored has a learnt map of every place of the part. auto: for parts that always lie alike."""
    compares_pictures: bool = True
    """False: the head compares features only."""
    feature_weight: float = Field(default=0.5, ge=0)
    """Of the term that has the restored features be those of the good picture."""
    picture_weight: float = Field(default=1.0, ge=0)
    """Of the term that has the restored picture be the good one."""
    overlap_weight: float = Field(default=0.5, ge=0)
    """Of the term that counts a small defect as much as a large one (losses/overlap.py)."""
    mix: dict[str, float] = Field(default_factory=dict)
    """Shares of kinds of anomalies in place of the usual ones (synthesis/mix.py), by name; 0 leaves a kind out."""
    most_kinds: int = Field(default=2, ge=1, le=4)
    """Anomalies that a picture holds at most; each after the first comes with a chance of a third."""

    @field_validator("places", mode="before")
    @classmethod
    def _unquoted(cls, given: object) -> object:
        return unquoted(given)


class BackboneConfig(Strict):
    """The house backbone: an encoder that learns to tell cut and pasted pictures, and to find blended patches."""

    cutpaste_share: float = Field(default=0.4, ge=0, le=1)
    """Share of every batch's anomalies that are CutPaste's patches and scars; the others are NSA's."""
    head_width: int = Field(default=32, ge=1, le=512)
    """Channels of the head that finds patches, which is thrown away in the end."""


class NuisanceConfig(Strict):
    """Harmless changes that must stay PASS, drawn anew for every training example."""

    gain: float = Field(default=0.10, ge=0, le=1)
    """Brightness factor within 1 ± gain."""
    gamma: float = Field(default=0.10, ge=0, le=1)
    white_balance: float = Field(default=0.03, ge=0, le=1)
    vignette: float = Field(default=0.10, ge=0, le=1)
    blur_px: float = Field(default=0.7, ge=0, le=5)
    noise: float = Field(default=2.0, ge=0, le=50)
    """Sensor noise, standard deviation in grey levels."""
    shift: float = Field(default=0.015, ge=0, le=0.2)
    """Share of the picture's side, in either direction. Raise it for parts that lie less exactly."""
    rotation_deg: float | None = Field(default=None, ge=0, le=180)
    """None: 2 for aligned parts, 5 for others, 0 for textures."""


class TrainConfig(Strict):
    method: str = "nsa"
    preset: str = "fast"
    network: Literal["small_unet", "nsa_resnet18", "small_resnet", "narrow_resnet18", "resnet18", "resnet50"] = (
        "small_unet"
    )
    """small_unet and nsa_resnet18 draw heatmaps, the others are encoders; each method says which it takes."""
    coords: Literal["auto", "on", "off"] = "off"
    """Coordinate channels in the first convolution (CoordConv). auto: on for parts that always lie alike."""
    size_px: int = Field(default=256, ge=32, le=2048)
    """Side of the square that a picture is resized to."""
    crop_px: int | None = None
    """Paper preset, objects: the network sees a random crop of this side in training and the centre one on the line."""
    centre_px: int | None = None
    """Paper preset, objects: random crops are taken within this centred square."""
    flip: bool = False
    """Paper preset, textures: vertical flips."""
    score: Literal["peak", "mean", "network"] = "peak"
    """How a picture becomes one number. `peak` of the heatmap keeps small defects, `mean` of its probabilities is NSA's
    own; `network`: the score that the method's network gives to the whole picture."""
    roi: tuple[NonNegativeInt, NonNegativeInt, PositiveInt, PositiveInt] | None = None
    """x, y, width, height in camera pixels; None: the whole picture. Goes into the bundle."""
    channels: Literal[1, 3] | None = None
    """None: 1 when every good picture is grey."""
    steps: int = Field(default=800, ge=1)
    epochs: int | None = None
    """Overrides `steps` by passes over the training pictures (the paper counts so)."""
    batch: int = Field(default=16, ge=2)
    clean_share: float = Field(default=0.25, ge=0, le=0.9)
    """Share of every batch that is a good picture under nuisance, labelled good."""
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    """sgd: with momentum 0.9, as CutPaste is published."""
    clip_gradients: float | None = Field(default=None, gt=0)
    """Most that the norm of all gradients together may be; steadies flows."""
    learning_rate: float = Field(default=1e-3, gt=0)
    final_learning_rate: float = Field(default=1e-6, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    examples: Literal["auto", "loader", "device"] = "auto"
    """Where examples are made: by worker processes, or on the GPU. auto: there, if there is one and the method can.
    The two draw different examples, so a run that goes on elsewhere is not the one it would have been."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that make examples; None: one fewer than the cores."""
    checkpoint_every_s: float = Field(default=60.0, gt=0)
    calibration_share: float = Field(default=0.2, gt=0, lt=1)
    validation_share: float = Field(default=0.05, ge=0, lt=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Ship a moving average of the weights with this decay a step (0.999) instead of the last ones."""
    compile: bool = False
    """Compile the training step (torch.compile): minutes to start. Whether it pays has not been measured."""
    nuisance: NuisanceConfig = NuisanceConfig()
    nsa: NsaConfig = NsaConfig()
    cutpaste: CutPasteConfig = CutPasteConfig()
    anoseg: AnoSegConfig = AnoSegConfig()
    fastflow: FastFlowConfig = FastFlowConfig()
    backbone: BackboneConfig = BackboneConfig()
    reseg: ResegConfig = ResegConfig()

    @field_validator("coords", mode="before")
    @classmethod
    def _unquoted(cls, given: object) -> object:
        return unquoted(given)

    @model_validator(mode="after")
    def _sides_fit(self) -> TrainConfig:
        seen_px = self.crop_px or self.size_px
        if seen_px % SIDE_STEP_PX:
            near_px = max(SIDE_STEP_PX, SIDE_STEP_PX * round(seen_px / SIDE_STEP_PX))
            raise ValueError(f"the network takes sides that divide by {SIDE_STEP_PX}, not {seen_px}; take {near_px}")
        centre_px = self.centre_px or self.size_px
        if not seen_px <= centre_px <= self.size_px:
            raise ValueError(
                f"crop_px {seen_px}, centre_px {centre_px} and size_px {self.size_px} must rise in this order"
            )
        return self

    @property
    def clean_slots(self) -> int:
        """How many of a batch's first examples are good pictures, for methods that learn to segment."""
        return min(self.batch - 1, round(self.clean_share * self.batch))

    @property
    def roi_box(self) -> Roi | None:
        return None if self.roi is None else Roi(x=self.roi[0], y=self.roi[1], width=self.roi[2], height=self.roi[3])
