"""What really happens to runs: signals, crashes, damage, and processes that disappear."""
