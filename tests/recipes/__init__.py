"""Tests of gcvit.recipes."""
