"""How unlikely a flow finds what it was given: FastFlow's loss (Yu et al., 2021, equation 3).

½‖z‖² − log|det J| without the normal distribution's constant, here a number's mean instead of the sum over a map, so
that its size says the same at every resolution.
"""

from __future__ import annotations

from torch import Tensor


def flow_likelihood_loss(z: Tensor, log_det: Tensor) -> Tensor:
    """Mean over the batch, in nats a number. z (N, C, h, w); log_det (N,) of the whole map."""
    energy = 0.5 * (z * z).sum((1, 2, 3))
    return (energy - log_det).mean() / z[0].numel()
