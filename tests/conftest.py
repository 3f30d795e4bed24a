"""One thread a process: the suite runs on several processes, and small models gain nothing from more."""

import os

import torch

torch.set_num_threads(1)
# No test may reach for the network; where one looks at that path, it says so itself.
os.environ["HF_HUB_OFFLINE"] = "1"
