"""Consistency: prompts that mean the same in an image are to be answered alike, whatever their words."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def consistency(logits: Tensor, truth: Tensor, owner: Tensor, against: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of each answer from the mean answer of all prompts that mean the same.

    The mean is held fixed, so that a good wording is not drawn towards a bad one more than the other way round.

    Parameters
    ----------
    logits, truth : (P, S, S)
    owner : int (P,)
        The image of each prompt. Prompts mean the same where image and true mask are the same.
    against : int (P,)
        At least 0 for wrong sentences, which are left out; see `data.Batch`.

    Returns
    -------
    Tensor of shape ()
        Zero where no two prompts mean the same.
    """
    found = []
    for group in _alike(truth, owner, against):
        if len(group) > 1:
            answers = logits[group].float()
            common = answers.detach().sigmoid().mean(dim=0).expand_as(answers)
            cross = functional.binary_cross_entropy_with_logits(answers, common, reduction="none")
            entropy = functional.binary_cross_entropy(common, common, reduction="none")
            found.append((cross - entropy).flatten(1).mean(dim=1))
    return torch.cat(found).mean() if found else logits.new_zeros(())


def _alike(truth: Tensor, owner: Tensor, against: Tensor) -> list[list[int]]:
    """Places of the prompts that mean the same."""
    groups: list[list[int]] = []
    for place, (image, wrong) in enumerate(zip(owner.tolist(), (against >= 0).tolist(), strict=True)):
        # Of what is not there many things are asked, which do not mean the same.
        if wrong or not truth[place].any():
            continue
        for group in groups:
            if int(owner[group[0]]) == image and torch.equal(truth[group[0]], truth[place]):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups
