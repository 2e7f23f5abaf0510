#!/usr/bin/env bash
# Fill wheels/ with what a bare GPU machine (torch, transformers, peft, accelerate) lacks for benchmarks/gpu/run.sh.
#
#   benchmarks/gpu/wheels.sh [PYTHON VERSION of that machine, default 3.12]
set -euo pipefail
cd "$(dirname "$0")/../.."
VERSION=${1:-3.12}
mkdir -p wheels
python3 -m pip download --no-deps --only-binary=:all: --python-version "$VERSION" --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
  --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d wheels --constraint constraints.txt \
  trl datasets msgspec stamina cyclopts rich-rst docstring-parser dill multiprocess tenacity pytest-asyncio
# Jurist itself for its version and entry points; run.sh puts src/ before it.
python3 -m pip wheel -q --no-deps -w wheels .
du -sh wheels
