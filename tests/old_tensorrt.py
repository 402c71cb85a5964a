"""TensorRT 8.6 and 10.3 as far as a build asks them: what they can do, and what they were told. Builds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

FLAGS_8 = ("FP16", "INT8", "GPU_FALLBACK")
HALF, SINGLE = "float16", "float32"


class OldLogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)


class OldCalibrator:
    """The base of legacy calibrators."""


class OldCache:
    def serialize(self) -> bytes:
        return b"notes of this build"


class OldConfig:
    def __init__(self, takes_timing: bool) -> None:
        self.flags: list[str] = []
        self.pools: dict[str, int] = {}
        self.int8_calibrator: Any = None
        self.builder_optimization_level = 3
        self.default_device_type = "GPU"
        self.DLA_core = -1
        self.timing: list[bytes] = []
        self._takes_timing = takes_timing

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def create_timing_cache(self, data: bytes) -> OldCache | None:
        self.timing.append(data)
        return OldCache() if self._takes_timing or not data else None

    def set_timing_cache(self, cache: OldCache, ignore_mismatch: bool) -> bool:
        return not ignore_mismatch


class OldTensorRT:
    """Stands in for the module. `layers`: (type, dtype of its output) of the network that every file parses to."""

    __version__ = "8.6.1"
    ILogger = OldLogger
    IInt8EntropyCalibrator2 = OldCalibrator
    BuilderFlag = SimpleNamespace(**{name: name for name in FLAGS_8})
    MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    LayerType = SimpleNamespace(QUANTIZE="QUANTIZE", DEQUANTIZE="DEQUANTIZE", CONVOLUTION="CONVOLUTION")
    DeviceType = SimpleNamespace(DLA="DLA", GPU="GPU")
    float16 = HALF

    def __init__(
        self,
        layers: Sequence[tuple[str, str]] = (("CONVOLUTION", SINGLE),),
        *,
        typed: bool = False,
        dla_cores: int = 0,
        plan: bytes | None = b"a plan",
        takes_timing: bool = True,
        says: str = "",
    ) -> None:
        creation = {"EXPLICIT_BATCH": 0} | ({"STRONGLY_TYPED": 1} if typed else {})
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**creation)
        self.config = OldConfig(takes_timing)
        self.network_flags = 0
        self._layers, self._dla_cores, self._plan, self._says = layers, dla_cores, plan, says

    def Builder(self, log: Any) -> Any:  # noqa: N802
        def create_network(flags: int) -> Any:
            self.network_flags = flags
            return self._network()

        def build(network: Any, config: Any) -> bytes | None:
            if self._says:
                log.log(OldLogger.ERROR, self._says)
            return self._plan

        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=lambda: self.config,
            build_serialized_network=build,
            num_DLA_cores=self._dla_cores,
        )

    def OnnxParser(self, network: Any, log: Any) -> Any:  # noqa: N802
        return SimpleNamespace(parse=lambda data: True, num_errors=0)

    def _network(self) -> Any:
        outputs = [SimpleNamespace(name=name) for name in ("heatmap", "score", "embedding")]
        layers = [
            SimpleNamespace(type=kind, num_outputs=1, get_output=lambda _, dtype=dtype: SimpleNamespace(dtype=dtype))
            for kind, dtype in self._layers
        ]
        return SimpleNamespace(
            num_inputs=1,
            get_input=lambda _: SimpleNamespace(name="image", shape=(1, 64, 64, 3)),
            num_outputs=len(outputs),
            get_output=lambda index: outputs[index],
            num_layers=len(layers),
            get_layer=lambda index: layers[index],
        )
