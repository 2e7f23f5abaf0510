#!/usr/bin/env bash
# The judge on two cores, in an evening: pairs, training, packing, measuring. Resumable: the same command goes on.
#
#   recipes/judge/make.sh DATA [OUT, default runs/judge]
#
# MINUTES is how long the training may take in all (default 120); START a state.pt whose weights are taken at first.
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=$1 OUT=${2:-runs/judge}
PYTHON=${PYTHON:-.venv/bin/python}
export PYTHONPATH="$PWD/src:$PWD/recipes/judge" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
mkdir -p "$OUT"
[ -e "$OUT/data/held_out-pairs.jsonl" ] || "$PYTHON" recipes/judge/build.py --data "$DATA" --out "$OUT/data" --pairs "${PAIRS:-24000}"
"$PYTHON" recipes/judge/train.py "$OUT/data/alone.jsonl" --out "$OUT/alone" --minutes "${MINUTES:-120}" ${START:+--start "$START"}
"$PYTHON" recipes/judge/pack.py "$OUT/alone/state.pt" "$OUT/judge.gguf"
"$PYTHON" -m jurist judge "$OUT/data/held_out.jsonl" --engine embedded --model "$OUT/judge.gguf" --protocol pointwise-short \
  --out "$OUT/held_out"
"$PYTHON" recipes/judge/measure.py "$OUT/held_out" --json "$OUT/figures.json"
echo "to ship it: cp $OUT/judge.gguf src/jurist/engines/judge.gguf"
