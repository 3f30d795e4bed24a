"""What a GC ViT looks at: attention, global queries and class maps of a picture (docs/explain.md); `look` begins."""

from typing import TYPE_CHECKING

from gcvit.on_demand import shown_on_demand

if TYPE_CHECKING:
    from gcvit.explain.looking import Look, Split, look
    from gcvit.explain.reach import Reach, measure_reach
    from gcvit.explain.settings import Cam, HeadOrMean, Kind

__all__ = ["Cam", "HeadOrMean", "Kind", "Look", "Reach", "Split", "look", "measure_reach"]

if not TYPE_CHECKING:
    _SHOWN = {
        "looking": ("Look", "Split", "look"),
        "reach": ("Reach", "measure_reach"),
        "settings": ("Cam", "HeadOrMean", "Kind"),
    }
    __getattr__, __dir__ = shown_on_demand(__name__, _SHOWN)
