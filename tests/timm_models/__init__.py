"""timm's contract, in a few seconds; `runs/timm_suite.py` runs timm's own tests."""
