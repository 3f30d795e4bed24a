"""Properties that every GC ViT must have, and a plain reference that it must equal."""
