"""AnoSeg's pixel loss: how far the heatmap's probabilities stand from the mask, in absolute difference.

Song et al., arXiv 2110.03396, section 3.2. The plain mean would be least for an empty heatmap, as few pixels are
anomalous and the loss does not grow with certainty; so the mean over anomalous pixels and the mean over good ones count
alike. The paper does not say how it balances them.
"""

from __future__ import annotations

from torch import Tensor


def balanced_l1_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Half the mean over anomalous pixels plus half the mean over good ones; logits and masks 0 or 1, of one shape."""
    missed = (1 - logits.sigmoid()) * masks
    raised = logits.sigmoid() * (1 - masks)
    return (missed.sum() / masks.sum().clamp(min=1) + raised.sum() / (1 - masks).sum().clamp(min=1)) / 2
