#!/usr/bin/env bash
# What only a GPU can show, in one command: the tests marked `gpu`, then the measurements.
#
#   benchmarks/gpu/run.sh [--device cuda|cpu] [--out FOLDER] [more options of measure.py]
#
# Needs torch, transformers, peft and accelerate; what else is missing (trl, datasets, msgspec, ...) may lie as wheels in
# the folder $WHEELS (default: wheels/), which `benchmarks/gpu/wheels.sh` fills on a machine with a network. Nothing is
# fetched. Under eight minutes on an H100. At a toy size on a CPU:
#
#   benchmarks/gpu/run.sh --device cpu --shapes toy --prompts 60 --groups 4 --written 8
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=runs/gpu DEVICE=cuda ARGS=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) OUT=$2; shift 2 ;;
    --device) DEVICE=$2; shift 2 ;;
    *) ARGS+=("$1"); shift ;;
  esac
done
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-wheels}
mkdir -p "$OUT"
if [ -d "$WHEELS" ]; then
  SITE=$(mktemp -d)
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$SITE" "$WHEELS"/*.whl
  export PYTHONPATH="$SITE${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
[ "$DEVICE" = cuda ] && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$OUT/card.txt"
started=$SECONDS
JURIST_TEST_DEVICE=$DEVICE timeout 150 "$PYTHON" -m pytest -m gpu tests/test_gpu.py -q -rs -p no:cacheprovider \
  2>&1 | tee "$OUT/tests.txt" | tail -n 15 || echo "tests failed: $OUT/tests.txt"
echo "tests: $((SECONDS - started)) s"
"$PYTHON" benchmarks/gpu/measure.py --device "$DEVICE" --out "$OUT" ${ARGS[@]+"${ARGS[@]}"}
echo "all: $((SECONDS - started)) s"
cat "$OUT/gpu.md"
