#!/bin/bash
# All that wants a GPU, in three calls of less than ten minutes each, offline; one half hour of a lent machine.
#
#   bash runs/gpu.sh correctness    tests on the GPU, budgets, dense inference, latency of one image
#   bash runs/gpu.sh speed          inference beside its peers, each compiled; memory
#   bash runs/gpu.sh train          training step beside its peers, runs that train, are killed and go on, time to compile
#
# Each part goes on when another fails or runs out of its time, and the exit code says whether one did. Everything is
# written to $OUT (./gpu-out): CALL.tar.gz with every log, table and picture, and CALL.txt, the summary.
#
# Python packages that the machine lacks are brought as wheels in .whl/, which git ignores. For Python 3.12, torch 2.11:
#   pip download --no-deps --only-binary=:all: --python-version 3.12 -d .whl tyro docstring-parser typeguard timm==1.0.31
#
# GPU_SMALL=1 runs every line on the CPU with tiny models, in a few minutes, to see that all of them still work.
set -u
cd "$(dirname "$0")/.." || exit 2
call=${1:-}
case $call in correctness | speed | train) ;; *)
    echo "usage: bash runs/gpu.sh correctness | speed | train" >&2
    exit 2
    ;;
esac
out=${OUT:-gpu-out}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/$call"

python=${PYTHON:-python3}
export PYTHONPATH=$PWD/src PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
if compgen -G ".whl/*.whl" >/dev/null && [ -z "${GPU_SMALL:-}" ]; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" .whl/*.whl || exit 1
    export PYTHONPATH=$PYTHONPATH:$work/site
fi
gcvit=("$python" -m gcvit)

if [ -n "${GPU_SMALL:-}" ]; then
    ours=gcvit_pico twin=timm/test_vit peers=() device=cpu batch=2 size=64 dense=64x96 graph=:channels_last
    patience=5 # a compiler on one thread takes its time
    brief=(--rounds 2 --turn-seconds 0) scale=(--scale 64 --steps 2) compiled=channels_last
    shapes=(--model gcvit_pico --img-size 32 --train-images 256 --val-images 64 --epochs 2 --batch-size 32)
    memory=(--side 64 --batches 1 2) compile=(--name gcvit_pico --ways blocks --steps inference)
else
    ours=gcvit_tiny twin=timm/gcvit_tiny peers=(--peers) device=cuda batch=256 size=224 dense=800x1344 graph=:cudagraph
    patience=1
    brief=(--rounds 10 --turn-seconds 0.5) scale=() compiled=compiled
    shapes=(--model gcvit_xxtiny --img-size 64 --train-images 8000 --val-images 1000 --epochs 6 --batch-size 256)
    memory=(--batches 8 16) compile=(--name gcvit_tiny --ways blocks timm --steps inference)
fi

summary=$work/$call/summary.txt
failed=0
{ nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,power.draw --format=csv,noheader || true
  "$python" -c "import torch, timm; print('torch', torch.__version__, 'timm', timm.__version__)"; } 2>&1 | tee "$summary"

part() { # NAME SECONDS COMMAND…: a part with its log; kept at once, should the machine go
    local name=$1 seconds=$(($2 * patience)) start=$SECONDS code
    shift 2
    echo "== $name: $*"
    # To each its own: a part that is stopped can leave half a file, on which all that come after it would fail.
    export TORCHINDUCTOR_CACHE_DIR=$work/compiled/$name TRITON_CACHE_DIR=$work/triton/$name
    timeout -k 10 "$seconds" "$@" >"$work/$call/$name.log" 2>"$work/$call/$name.err"
    code=$?
    tail -n 30 "$work/$call/$name.log"
    [ $code -eq 0 ] || { failed=1; tail -n 15 "$work/$call/$name.err"; }
    printf '%-24s code %3d  %4d s\n' "$name" $code $((SECONDS - start)) >>"$summary"
    keep
}

keep() {
    tar -czf "$out/.$call.tar.gz" -C "$work" "$call" && mv "$out/.$call.tar.gz" "$out/$call.tar.gz"
    cp "$summary" "$out/$call.txt"
}

speed() { # NAME SECONDS OPTIONS…
    local name=$1 seconds=$2
    shift 2
    part "$name" "$seconds" "${gcvit[@]}" bench speed --device "$device" "${brief[@]}" --out "$work/$call/$name" "$@"
}

budget() { # NAME SECONDS MODEL OPTIONS…
    local name=$1 seconds=$2
    shift 2
    part "$name" "$seconds" "${gcvit[@]}" bench budget --device "$device" "${scale[@]}" --out "$work/$call/$name" "$@"
}

killed_and_resumed() { # trains, is killed once it has saved, goes on, and must end with its report
    local folder=$work/run train
    train=("${gcvit[@]}" train classify --out "$folder" --device "$device" --checkpoint-minutes 0.02 "${shapes[@]}" "$@")
    "${train[@]}" &
    for _ in {1..120}; do
        if compgen -G "$folder/checkpoints/*" >/dev/null || ! kill -0 $! 2>/dev/null; then break; fi
        sleep 0.5
    done
    kill -KILL $! 2>/dev/null
    wait $!
    [ ! -e "$folder/report.html" ] || echo "it ended before it could be killed"
    timeout 60 "${train[@]}" && [ -e "$folder/report.html" ]
}

case $call in
correctness)
    part tests 180 "$python" -m pytest -m gpu -n 0 -p no:cacheprovider tests/kernels tests/bench
    # Without gradients ours take the kernel on a GPU; :sdpa is the same model without it.
    speed dense 100 --models "$ours:sdpa" "$ours" "$ours:folded" --size "$dense" --part backbone --windows 7 7 14 7 \
        --batch-sizes 1 4 --precision bf16
    speed dense-windows-16 70 --models "$ours:sdpa" "$ours" --size "$dense" --part backbone --windows 16 16 16 16 \
        --batch-sizes 2 --precision bf16
    speed latency 100 --models "$twin" "$ours" "$ours:folded" "$ours:folded$graph" \
        --batch-sizes 1 --size "$size" --precision bf16
    speed kernel 60 --models "$ours:folded:sdpa" "$ours:folded" --batch-sizes "$batch" --size "$size" --precision pure-bf16
    budget budget 45 "$ours:folded" --batch-size "$batch" --size "$size" --precision pure-bf16
    ;;
speed)
    speed inference 400 --models "$twin" "$ours" "${peers[@]}" --forms "$compiled" \
        --batch-sizes "$batch" --size "$size" --precision bf16
    speed folded 90 --models "$ours" "$ours:folded" --forms "$compiled" --batch-sizes "$batch" --size "$size" \
        --precision pure-bf16
    budget budget-compiled 40 "$ours:folded:$compiled" --batch-size "$batch" --size "$size" --precision pure-bf16
    part memory 60 "$python" runs/memory.py --device "$device" --precision bf16 "${memory[@]}" \
        --out "$work/$call/memory.json"
    ;;
train)
    speed step 330 --mode train --models "$twin" "$ours" "${peers[@]}" --forms "$compiled" \
        --batch-sizes "$batch" --size "$size" --precision bf16
    part train 60 "${gcvit[@]}" train classify --device "$device" --precision bf16 --out "$work/run-plain" "${shapes[@]}"
    part train-compiled 90 "${gcvit[@]}" train classify --device "$device" --precision bf16 --compile \
        --out "$work/run-compiled" "${shapes[@]}"
    start=$SECONDS
    killed_and_resumed --precision bf16 >"$work/$call/resume.log" 2>&1
    code=$?
    tail -n 12 "$work/$call/resume.log"
    [ $code -eq 0 ] || failed=1
    printf '%-24s code %3d  %4d s\n' resume $code $((SECONDS - start)) >>"$summary"
    part compile-time 90 "$python" runs/compile_time.py --device "$device" "${compile[@]}" --out "$work/$call/compile.json"
    ;;
esac
keep
echo
cat "$summary"
exit $failed
