"""What an evaluation says of a model: shares, how far they may be off, calibration, confusions and overlaps.

`Accuracy` and `SegmentationCounts` hold integer counts, so that processes with uneven shares add up to the exact
result; calibration and a classifier's confusions are computed from all images at once.
"""

from gcvit.metrics.classification import Accuracy, Calibration, confusion_matrix, most_confused
from gcvit.metrics.segmentation import SegmentationCounts
from gcvit.metrics.significance import wilson

__all__ = ["Accuracy", "Calibration", "SegmentationCounts", "confusion_matrix", "most_confused", "wilson"]
