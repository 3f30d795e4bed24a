"""Tests of what the bench counts and times."""
