"""Semantic segmentation: a class for every pixel, by UPerNet on a GC ViT."""
