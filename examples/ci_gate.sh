#!/bin/sh
# Keeps a deployment's settings equal to what was measured. In a pipeline:
#   TUNER_URL=https://tuner.example MODEL=Qwen/Qwen3-0.6B ACCELERATOR='TPU v6e-1' WORKLOAD=chat ./ci_gate.sh deploy/serve.yaml
# Exit codes: 0 the file is what the tuner recommends now; 1 it is not, or the recommendation is stale (the difference is printed);
# 2 there is no recommendation for exactly this, or the tuner could not be asked. TUNER_API_TOKEN is sent if it is set.
set -eu
file=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=$(curl --silent --show-error --max-time 30 --output "$work/serve.yaml" --dump-header "$work/headers" --write-out '%{http_code}' \
    ${TUNER_API_TOKEN:+--header "Authorization: Bearer $TUNER_API_TOKEN"} \
    --get "$TUNER_URL/v1/recommendations/config" --data-urlencode "model=$MODEL" --data-urlencode "accelerator=$ACCELERATOR" \
    --data-urlencode "workload=$WORKLOAD" --data accept=exact --data format=yaml) || exit 2
if [ "$status" != 200 ]; then
    echo "no recommendation to compare $file with: HTTP $status" >&2
    cat "$work/serve.yaml" >&2
    exit 2
fi
if ! diff -u "$file" "$work/serve.yaml"; then
    echo "$file is not what was measured to be best; take the new file or withdraw the recommendation" >&2
    exit 1
fi
if grep -qi '^x-tuner-stale: true' "$work/headers"; then
    echo "$file is what was recommended, but the evidence is stale: measure again" >&2
    exit 1
fi
echo "$file is what the tuner recommends"
