"""What good sets say of themselves, for tests that need no pictures to measure."""

from __future__ import annotations

from sad_train.data.profile import Profile

WHOLE_PICTURE = Profile(
    kind="object",
    background_level=None,
    background_tolerance=None,
    foreground_share=1.0,
    foreground_box=(0.0, 0.0, 1.0, 1.0),
    aligned=True,
    alignment=0.9,
    noise_floor=3.0,
)
"""A part that fills the picture and always lies alike."""
