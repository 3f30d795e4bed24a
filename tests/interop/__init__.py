"""Other people's packages that take our models through timm; each test skips itself where the package is missing."""
