"""Tests of gcvit.engine."""
