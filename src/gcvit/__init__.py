"""GC ViT, Global Context Vision Transformers: the public surface."""
