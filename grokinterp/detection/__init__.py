"""Early detection: whether a run is about to grok, without its test accuracy or loss, with a benchmark record."""

from grokinterp.detection.benchmark import Trial as Trial
from grokinterp.detection.benchmark import naive_score as naive_score
from grokinterp.detection.benchmark import trials as trials
from grokinterp.detection.detectors import DETECTORS as DETECTORS
from grokinterp.detection.detectors import Detector as Detector
from grokinterp.detection.detectors import early_detection as early_detection
from grokinterp.detection.detectors import first_alarm as first_alarm
from grokinterp.detection.detectors import signals as signals


__all__ = [
    "DETECTORS",
    "Detector",
    "Trial",
    "early_detection",
    "first_alarm",
    "naive_score",
    "signals",
    "trials",
]
