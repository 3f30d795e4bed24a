"""Metrics that stay exact when several processes have uneven shares: integer counts that can be summed."""

from gcvit.metrics.accuracy import Accuracy

__all__ = ["Accuracy"]
