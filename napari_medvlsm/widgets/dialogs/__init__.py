"""Windows beside the panel. Each shows values and reports what the person did, like the sections."""

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
