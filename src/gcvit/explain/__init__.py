"""What a GC ViT looks at: attention, global queries and class maps of a picture (docs/explain.md); `look` begins."""

from gcvit.explain.attention import HeadOrMean, Kind
from gcvit.explain.cam import Cam
from gcvit.explain.look import Look, Split, look
from gcvit.explain.reach import Reach, measure_reach

__all__ = ["Cam", "HeadOrMean", "Kind", "Look", "Reach", "Split", "look", "measure_reach"]
