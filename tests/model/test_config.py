"""What the configuration reads and refuses."""

import pytest

from gcvit.model.config import sides


def test_sizes_in_words():
    assert sides(224) == sides("224") == (224, 224)
    assert sides("800x1344") == (800, 1344)
    for wrong in ("800x", "1x2x3", "large", "-224", ""):
        with pytest.raises(ValueError, match="HEIGHTxWIDTH"):
            sides(wrong)
