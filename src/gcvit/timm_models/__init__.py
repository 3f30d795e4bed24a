"""timm's side of the package: importing it registers the models with timm as `gc_vit_*`."""

from gcvit.timm_models import gcvit

__all__ = ["gcvit"]
