"""A drawn picture that looks like a polyp in an endoscopy: to try the program, of nobody and under no licence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from napari_medvlsm.core.masks import Mask

_SIDE = 480
# Red, green and blue of the wall and of the polyp, which has more blood.
_WALL, _POLYP = np.array([0.80, 0.50, 0.40]), np.array([0.84, 0.38, 0.34])


def polyp_picture(seed: int = 0) -> tuple[npt.NDArray[np.uint8], Mask]:
    """A lit dome on the folded wall of a tube.

    Parameters
    ----------
    seed : int
        The same seed gives the same picture.

    Returns
    -------
    (uint8 array of shape (480, 480, 3), bool array of shape (480, 480))
        The picture, and where the dome is.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    coarse, fine = (scipy.ndimage.gaussian_filter(rng.normal(size=(_SIDE, _SIDE)), s) for s in (24, 2))
    coarse, fine = coarse / coarse.std(), fine / fine.std()
    # The tube goes away to the upper left, where it is dark; folds are rings around there.
    away = np.hypot(x + 0.45, y + 0.5)
    wall = 0.25 + 0.75 * np.clip(away / 1.3, 0, 1) ** 0.8
    wall += 0.07 * np.tanh(3 * np.sin(9 * away + 0.5 * coarse)) * np.clip(away, 0, 1)
    angle = np.arctan2(y - 0.18, x - 0.15)
    edge = 0.34 + 0.03 * np.sin(2 * angle + 1) + 0.02 * np.sin(3 * angle)
    from_middle = np.hypot(x - 0.15, (y - 0.18) * 1.1) / edge
    dome = from_middle < 1
    height = np.sqrt(np.clip(1 - from_middle**2, 0, None))
    lit = 0.45 + 0.55 * height - 0.15 * (x - 0.15 + y - 0.18) / edge
    cover = scipy.ndimage.gaussian_filter(dome.astype(float), 1.5)[..., None]
    shadow = 1 - 0.35 * np.exp(-(((from_middle - 1.06) / 0.12) ** 2)) * ~dome
    picture = (wall * shadow)[..., None] * _WALL * (1 - cover) + lit[..., None] * _POLYP * cover
    picture += 0.015 * fine[..., None] + 0.01 * coarse[..., None]
    for row, col, size in ((0.02, 0.04, 0.035), (0.1, 0.2, 0.02), (-0.5, 0.6, 0.03)):
        picture += 0.8 * np.exp(-((((x - col) ** 2 + (y - row) ** 2) / size**2) ** 2))[..., None]
    # Endoscopes show a disc.
    picture *= (np.hypot(x, y) < 1.25)[..., None]
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8), dome
