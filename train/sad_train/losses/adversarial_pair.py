"""The two sides of AnoSeg's adversarial term, in the least-squares form.

Song et al., arXiv 2110.03396, section 3.2, where pairs of picture and mask are judged. The paper's logarithmic form
gives no slope once the discriminator is sure; least squares (Mao et al., ICCV 2017) does. True pairs are to score 0.9,
not 1 (one-sided smoothing, Salimans et al., NeurIPS 2016), so that the discriminator stays unsure of small differences.
Without any pair both are 0.
"""

from __future__ import annotations

from torch import Tensor

TRUE, FALSE = 0.9, 0.0


def discriminator_loss(true: Tensor, false: Tensor) -> Tensor:
    """What the discriminator descends, from its judgements of true and false pairs, any shape."""
    return (_apart(true, TRUE) + _apart(false, FALSE)) / 2


def deceiving_loss(false: Tensor) -> Tensor:
    """What the segmentation network descends: its pairs are to be taken for true ones."""
    return _apart(false, TRUE) / 2


def _apart(judged: Tensor, target: float) -> Tensor:
    return (judged.float() - target).square().sum() / max(1, judged.numel())
