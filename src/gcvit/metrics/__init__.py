"""What an evaluation says of a classifier: shares, how far they may be off, calibration and confusions.

`Accuracy` holds integer counts, so that processes with uneven shares add up to the exact result; calibration and
confusions are computed from all images at once.
"""

from gcvit.metrics.accuracy import Accuracy
from gcvit.metrics.calibration import Calibration
from gcvit.metrics.confusion import confusion_matrix, most_confused
from gcvit.metrics.interval import wilson

__all__ = ["Accuracy", "Calibration", "confusion_matrix", "most_confused", "wilson"]
