#!/bin/bash
# Trains on all GPUs of one machine, or of several that see the same files.
#
# One machine:
#   examples/torchrun.sh imagenet_tiny --data IMAGENET --accumulate 4 --out RUN
# Four machines, the same line on each, where node01 is one of them:
#   NODES=4 HEAD=node01 examples/torchrun.sh imagenet_tiny --data IMAGENET --out RUN
# Two to four, whichever are there: when one fails or joins, all start again from the newest checkpoint. (With three of
# eight GPUs the batch of 4096 cannot be divided: then it says so until a fourth is there.)
#   NODES=2:4 HEAD=node01 examples/torchrun.sh imagenet_tiny --data IMAGENET --out RUN
# TASK=segment trains a segmentation model: TASK=segment examples/torchrun.sh ade20k_tiny --data ADEChallengeData2016 --out RUN
# Where machines know themselves as 127.0.1.1, GLOO_SOCKET_IFNAME=eth0 (or whatever it is called) names the network.
#
# The batch, and with it the learning rate, is the same in all of these: it is divided among the processes and then
# among the --accumulate passes, so their product must divide it.

set -euo pipefail

# After a restart the processes would find the addresses of those that died (pytorch issue 135712).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

exec torchrun \
    --nnodes "${NODES:-1}" \
    --nproc-per-node "${PROCESSES:-gpu}" \
    --max-restarts "${RESTARTS:-3}" \
    --rdzv-backend c10d \
    --rdzv-endpoint "${HEAD:-localhost:0}" \
    --rdzv-id "${ID:-gcvit}" \
    -m gcvit train "${TASK:-classify}" "$@"
