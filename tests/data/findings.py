"""What a doctor has found, to be compared at a glance."""

from pathlib import Path

from gcvit.data.doctor import Health


def found(health: Health) -> list[tuple[str, list[str]]]:
    """Each finding's kind and the names of its files, faults first."""
    return [(finding.kind, [Path(file).name for file in finding.files]) for finding in health.faults + health.notes]
