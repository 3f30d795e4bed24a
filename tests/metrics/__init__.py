"""Tests of gcvit.metrics."""
