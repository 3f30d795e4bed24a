"""What a model costs and how fast it is, beside its peers."""
