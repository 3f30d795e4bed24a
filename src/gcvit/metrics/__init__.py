"""Metrics that stay exact when several processes have uneven shares: integer counts that can be summed."""

from gcvit.metrics.accuracy import Accuracy
from gcvit.metrics.calibration import Calibration
from gcvit.metrics.confusion import confusion_matrix, most_confused
from gcvit.metrics.interval import wilson

__all__ = ["Accuracy", "Calibration", "confusion_matrix", "most_confused", "wilson"]
