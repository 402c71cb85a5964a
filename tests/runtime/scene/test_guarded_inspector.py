"""Where the guard stands: after preprocessing, before the model. Only a line has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import bad_picture, good_picture
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import read_bundle
from sad_runtime.errors import ConfigError, DataError
from sad_runtime.golden import own_thresholds
from sad_runtime.inspector import Inspector
from sad_runtime.scene.bundled import guard_for
from sad_runtime.scene.config import SceneConfig
from sad_runtime.scene.guard import SceneFault
from sad_runtime.schema import parse
from sad_runtime.verdict import Reason, Verdict


def test_a_picture_at_fault_never_reaches_the_model(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    backend = backend_for("onnxruntime", bundle.model("fp32"), bundle.manifest.input, threads=1)
    guard = guard_for(bundle, SceneConfig())
    with Inspector(backend, own_thresholds(bundle, "fp32"), guard=guard) as inspector:
        good, bad = inspector.inspect(good_picture()), inspector.inspect(bad_picture())
        assert (good.verdict, bad.verdict) == (Verdict.PASS, Verdict.FAIL)
        assert good.look is not None
        assert good.look.measures.brightness == pytest.approx(good_picture().mean(), abs=1)
        asked = []
        backend.infer = asked.append  # type: ignore[method-assign,assignment]
        with pytest.raises(SceneFault) as fault:
            inspector.inspect(np.zeros_like(good_picture()))
        assert fault.value.reason is Reason.BLACK
        assert isinstance(fault.value, DataError)
        assert not asked


def test_without_a_guard_everything_is_judged_as_before(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    backend = backend_for("onnxruntime", bundle.model("fp32"), bundle.manifest.input, threads=1)
    with Inspector(backend, own_thresholds(bundle, "fp32")) as inspector:
        found = inspector.inspect(np.zeros_like(good_picture()))
        assert (found.verdict, found.look) == (Verdict.FAIL, None)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"frozen_after": 1}, "2 is the least"),
        ({"frozen_after": -1}, "frozen_after"),
        ({"limits": {"brightnes": [1, 2]}}, "brightness"),
        ({"limits": {"brightness": [200, 40]}}, "is not below"),
        ({"limits": {"brightness": [200]}}, r"limits\.brightness"),
        ({"limits": {"brightness": "dark"}}, r"limits\.brightness"),
        ({"limit": {}}, "did you mean 'limits'"),
        ({"drift_parts": 1.5}, "drift_parts"),
    ],
)
def test_nonsense_in_the_file_is_refused_by_name(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(SceneConfig, values, "scene")


def test_a_limit_can_be_open_on_one_side_or_taken_away() -> None:
    config = parse(SceneConfig, {"limits": {"brightness": [None, 200], "shift": None}}, "scene")
    assert config.limits == {"brightness": (None, 200.0), "shift": None}
