"""Windows beside the panel. Each shows values and reports what the person did, like the sections.

A window's module is imported when it is first asked for: no start of the program waits for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_medvlsm.widgets.dialogs.before_after import BeforeAfterDialog
    from napari_medvlsm.widgets.dialogs.card import CardDialog
    from napari_medvlsm.widgets.dialogs.comparison import ComparisonDialog
    from napari_medvlsm.widgets.dialogs.guide import GuideDialog
    from napari_medvlsm.widgets.dialogs.models import ModelsDialog
    from napari_medvlsm.widgets.dialogs.new_project import NewProjectDialog
    from napari_medvlsm.widgets.dialogs.own_words import OwnWordsDialog
    from napari_medvlsm.widgets.dialogs.predict import PredictDialog
    from napari_medvlsm.widgets.dialogs.prompt_history import PromptHistoryDialog
    from napari_medvlsm.widgets.dialogs.review import ReviewDialog
    from napari_medvlsm.widgets.dialogs.scans_form import AddScansDialog

_MODULES = {
    "AddScansDialog": "scans_form",
    "BeforeAfterDialog": "before_after",
    "CardDialog": "card",
    "ComparisonDialog": "comparison",
    "GuideDialog": "guide",
    "ModelsDialog": "models",
    "NewProjectDialog": "new_project",
    "OwnWordsDialog": "own_words",
    "PredictDialog": "predict",
    "PromptHistoryDialog": "prompt_history",
    "ReviewDialog": "review",
}

__all__ = [
    "AddScansDialog",
    "BeforeAfterDialog",
    "CardDialog",
    "ComparisonDialog",
    "GuideDialog",
    "ModelsDialog",
    "NewProjectDialog",
    "OwnWordsDialog",
    "PredictDialog",
    "PromptHistoryDialog",
    "ReviewDialog",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
