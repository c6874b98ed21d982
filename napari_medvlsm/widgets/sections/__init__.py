"""The panel's parts. Each shows values and reports what the person did; none holds state or knows napari."""

from napari_medvlsm.widgets.sections.correction import CorrectionSection
from napari_medvlsm.widgets.sections.footer import Footer
from napari_medvlsm.widgets.sections.model import ModelSection
from napari_medvlsm.widgets.sections.outlines import OutlinesSection
from napari_medvlsm.widgets.sections.prompt import PromptSection
from napari_medvlsm.widgets.sections.result import ResultSection
from napari_medvlsm.widgets.sections.save import SaveSection
from napari_medvlsm.widgets.sections.scan import ScanSection

__all__ = [
    "CorrectionSection",
    "Footer",
    "ModelSection",
    "OutlinesSection",
    "PromptSection",
    "ResultSection",
    "SaveSection",
    "ScanSection",
]
