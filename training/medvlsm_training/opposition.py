"""Opposition: of a right and a wrong sentence about a region, the right one must win there.

It does not ask that the wrong sentence draws nothing: "a polyp on the left" about the only polyp, on the right, is a
mistake, not "no polyp".
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def opposition(logits: Tensor, truth: Tensor, against: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of the right sentence among (right, wrong), by their mean logits on the true region.

    Parameters
    ----------
    logits, truth : (P, S, S)
        Of all prompts; a wrong sentence bears the true mask of the right one.
    against : int (P,)
        For a wrong sentence the place of the right one, else -1.
    temperature : float
        Logits by which the right one must lead until little is left to gain.

    Returns
    -------
    Tensor of shape ()
        Zero where there is no wrong sentence, or no region.
    """
    wrong = (against >= 0).nonzero()[:, 0]
    regions = truth[wrong].float()
    areas = regions.sum(dim=(1, 2))
    seen = areas > 0
    if not seen.any():
        return logits.new_zeros(())
    wrong, regions, areas = wrong[seen], regions[seen], areas[seen]
    lead = ((logits[against[wrong]] - logits[wrong]).float() * regions).sum(dim=(1, 2)) / areas
    return functional.softplus(-lead / temperature).mean() * temperature
