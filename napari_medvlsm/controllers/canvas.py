"""What `controllers.corrections` needs of the layers that corrections are drawn on. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Target


class Canvas(Protocol):
    """The correction layers of the image in view, one for each target; they hold the slices of the image.

    What a person changes on them is reported to `Corrections.on_painted`, and a deleted one to `on_deleted`.
    """

    def targets(self) -> Sequence[str]:
        """The targets that have a layer."""

    def open(self, target: Target, mask: Mask | None = None) -> None:
        """Give a target a layer, if it has none; a new one holds the mask, with nothing to undo."""

    def edit(self, target: str) -> None:
        """Make a layer ready to paint on."""

    def read(self, target: str) -> Mask | None:
        """A copy of the slice in view, shape (H, W); None without a layer."""

    def slice_before(self, target: str) -> Mask | None:
        """A copy of the slice before the one in view, shape (H, W); None without a layer, or before the first slice."""

    def replace(self, target: str, mask: Mask) -> int:
        """Make the slice in view equal to a mask as one undoable step; the number of changed pixels."""

    def undo(self, target: str) -> None:
        """Take back the last step of a layer, on whichever slice it was, and report what changed."""

    def redo(self, target: str) -> None:
        """Bring back the last step that was undone, and report what changed."""

    def adoptable(self) -> Sequence[tuple[str, object]]:
        """Names and layers of the person's own that could become a correction."""

    def adopt(self, layer: object, target: Target) -> None:
        """Make a layer of the person's own the correction layer of a target."""

    def note(self, annotation: Annotation) -> None:
        """Let the layer carry the annotation of one of its slices, for a panel that is opened later."""

    def noted(self, target: str) -> Annotation | None:
        """The annotation that the layer carries for the slice in view."""

    def forget(self, target: str) -> None:
        """Let the layer carry no annotation for the slice in view any more."""
