"""Tests of gcvit.tasks."""
