"""Data: one image loader for the whole package, the built-in scenes, class folders, transforms, sampling."""
