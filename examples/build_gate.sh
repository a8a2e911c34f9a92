#!/bin/sh
# A pipeline of people who build vLLM: is this build still as fast as what is published? On a machine with the accelerator:
#   ENGINE_PYTHON=/builds/vllm/bin/python TUNER_STORAGE=postgresql://tuner@db/tuner ./build_gate.sh study.yaml 'throughput>=0.97*published'
# study.yaml names the model, the workload and the objective of the published recommendation, with its page size and chunk budget among the
# levels: what is compared is the published configuration. Exit codes: 0 every gate holds; 1 one fails with 95 % confidence, or nothing could be
# measured; 2 bad input, or nothing is published for the model; 3 a gate is undecided: add rounds, or look at it. Each build is a study.
set -u
study=$1
gate=$2
tuner search "$study" --study "build-${BUILD:-$(date -u +%Y%m%d-%H%M%S)}" ${ENGINE_PYTHON:+--engine-python "$ENGINE_PYTHON"} --profile none \
    --gate "$gate"
code=$?
case $code in
0) echo "passed: $gate" ;;
1) echo "failed: $gate" >&2 ;;
3) echo "undecided: $gate" >&2 ;;
esac
exit $code
