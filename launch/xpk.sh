#!/usr/bin/env bash
# Submits a training to a GKE cluster made with xpk.
#
#   export CLUSTER=my-cluster ZONE=us-east5-a TYPE=v5litepod-256 IMAGE=python:3.12
#   launch/xpk.sh mae-l16 --config configs/mae.py:variant=L/16 --workdir /data/runs/mae_l16
#
# The first word names the workload. CLUSTER, ZONE, PROJECT, TYPE (--tpu-type), SLICES (default 1),
# RESTARTS (default 50). IMAGE is the base to which xpk adds this folder and in which the requirements
# are installed at start; DOCKER_IMAGE one that has them already. A workload that saved and left (75)
# or hung (70) is started again; a wrong config, divergence or bad data are not.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/exit_codes.sh

: "${CLUSTER:?cluster}" "${ZONE:?zone}" "${TYPE:?TPU type, as v5litepod-256}"
workload=${1:?name of the workload}
shift
place=(--cluster="$CLUSTER" --zone="$ZONE")
if [[ -n ${PROJECT:-} ]]; then place+=(--project="$PROJECT"); fi

words=$(printf '%q ' "$@")
run="python -m maskmim.train --coordinator auto $words"
image=(--docker-image="${DOCKER_IMAGE:-}")
if [[ -z ${DOCKER_IMAGE:-} ]]; then
  image=(--base-docker-image="${IMAGE:-python:3.12}" --script-dir="$PWD")
  run="pip install -q -r requirements.txt 'jax[tpu]>=0.10,<0.13' && $run"
fi

xpk workload create "${place[@]}" --workload="$workload" --tpu-type="$TYPE" \
  --num-slices="${SLICES:-1}" --max-restarts="${RESTARTS:-50}" \
  --restart-on-exit-codes="$SAVED,$STUCK" "${image[@]}" --command="$run"
