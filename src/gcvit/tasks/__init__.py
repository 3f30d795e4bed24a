"""What the package trains and evaluates models for."""
