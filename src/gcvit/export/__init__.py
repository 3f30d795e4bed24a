"""Trained models as files for other runtimes; every file that is written is run and compared first."""
