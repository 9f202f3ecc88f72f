#!/usr/bin/env bash
# The tests of what is computed (encoders, state-space layers, decoders, golden numbers), run as older x86-64 processors
# would: with SSE only, then with AVX2 and nothing newer. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh

# left out: tests that count operations, which no processor changes and which take two thirds of the time, and those of
# Triton, whose interpreter computes with numpy, which these variables do not reach
numbers() {
    env "$@" .venv/bin/python -m pytest "${arguments[@]}" \
        tests/longvid/encoders tests/longvid/layers tests/longvid/ssm tests/longvid/decoders tests/golden \
        --ignore tests/longvid/decoders/test_cost.py --ignore tests/longvid/encoders/test_table.py \
        --ignore tests/longvid/ssm/kernels/test_triton.py
}

arguments=("$@")
numbers ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE
numbers ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
