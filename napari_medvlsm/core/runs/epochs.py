"""How many epochs a number of images gets."""

from __future__ import annotations


def epochs_for(images: int, most: int, most_images: int, least: int = 1) -> int:
    """Epochs of a recipe for so many images an epoch: as few as show `most_images` in all.

    Parameters
    ----------
    images : int
        Of an epoch.
    most, most_images, least : int
        `trainer.max_epochs`, `trainer.max_images` (0 for no limit) and `trainer.min_epochs` of a recipe.
    """
    if not most or not most_images:
        return most
    return min(most, max(1, least, -(-most_images // images)))
