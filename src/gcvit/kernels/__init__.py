"""Faster ways to compute what `gcvit.model` defines, each with a rule for when it applies."""
