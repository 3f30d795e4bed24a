"""Agreement with the published model and with timm, from weights that are a function of their names."""
