"""Maps of the global queries (Figure S.1): what the generator makes of an image, stage by stage."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gcvit.errors import require

Query = Float[Tensor, "rows columns channels"]


def principal_components(queries: Sequence[Query], count: int = 3) -> list[Float[Tensor, "rows columns components"]]:
    """The queries of one stage in several images, along the directions in which they vary most, fitted over all of
    them, so that the same value means the same everywhere. The largest loading of each direction is positive.

    Raises UserError for more components than there are channels.
    """
    channels = queries[0].shape[-1]
    require(1 <= count <= channels, "components", count, f"from 1 to {channels}, the channels of the query")
    tokens = torch.cat([query.reshape(-1, channels) for query in queries]).double()
    mean = tokens.mean(0)
    _, _, directions = torch.linalg.svd(tokens - mean, full_matrices=True)
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    return [((query.double() - mean) @ directions.T).to(query.dtype) for query in queries]
