#!/usr/bin/env bash
# Submits a training to a GKE cluster made with xpk.
#
#   export CLUSTER=my-cluster ZONE=us-east5-a TYPE=v5litepod-256 IMAGE=python:3.12
#   launch/xpk.sh mae-l16 --config configs/mae.py:variant=L/16 --workdir /data/runs/mae_l16
#   launch/xpk.sh --dry-run mae-l16 --config ...       # prints the xpk command instead
#
# The first word is the workload's name; the rest are arguments of maskmim.train.
#
# CLUSTER, ZONE, TYPE   the cluster, its zone, and the slice (xpk's --tpu-type)
# PROJECT     if not gcloud's default
# SLICES      slices of that type (default 1)
# RESTARTS    restarts in all (default 50)
# SPOT        1 for spot machines, in clusters that provision nodes themselves
# MOUNT       name of the storage that holds the work directory, attached with `xpk storage attach`
# GRACE       seconds from TERM to KILL, in which the run saves (default 120)
# IMAGE       base image; xpk adds this folder, and the requirements are installed at start (default
#             python:3.12); or
# DOCKER_IMAGE  an image with this checkout and its requirements
#
# Starts again after a save (75), a hang (70), a full disk (74), a crash (1) or a kill (128 and above),
# not after a wrong config (2), divergence (65) or bad data (66).
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/exit_codes.sh
if (($# == 0)); then
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
  exit "$USAGE"
fi

show=
if [[ $1 == --dry-run ]]; then
  show=1
  shift
fi
for name in CLUSTER ZONE TYPE; do
  if [[ -z ${!name:-} ]]; then
    echo "xpk.sh: $name is not set; run launch/xpk.sh without arguments for usage" >&2
    exit "$USAGE"
  fi
done
workload=${1:-}
if [[ ! $workload =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]]; then
  echo "xpk.sh: the first word is the workload's name: up to 40 of a-z, 0-9 and -, got '$workload'" >&2
  exit "$USAGE"
fi
shift
if (($# == 0)); then
  echo "xpk.sh: no arguments after '$workload': add those of maskmim.train" >&2
  exit "$USAGE"
fi

# exec: xpk sends TERM to the shell that runs this, which would not forward it. (Recent bash replaces a
# subshell by its last command anyway.)
run="exec python -m maskmim.train --coordinator auto$(printf ' %q' "$@")"
image=(--docker-image="${DOCKER_IMAGE:-}")
if [[ -z ${DOCKER_IMAGE:-} ]]; then
  image=(--base-docker-image="${IMAGE:-python:3.12}" --script-dir="$PWD")
  run="pip install -q -r requirements.txt 'jax[tpu]>=0.10,<0.13' && $run"
fi

# shellcheck disable=SC2153  # ZONE is the environment's, DONE a code
words=(xpk workload create --cluster="$CLUSTER" --zone="$ZONE")
if [[ -n ${PROJECT:-} ]]; then words+=(--project="$PROJECT"); fi
words+=(
  --workload="$workload" --tpu-type="$TYPE" --num-slices="${SLICES:-1}"
  --max-restarts="${RESTARTS:-50}" --restart-on-exit-codes="$FAILED,$STUCK,$STORAGE,$SAVED"
  --termination-grace-period-seconds="${GRACE:-120}"
)
if [[ -n ${SPOT:-} ]]; then words+=(--spot); fi
if [[ -n ${MOUNT:-} ]]; then words+=(--storage="$MOUNT"); fi
words+=("${image[@]}" --command="$run")

if [[ -n $show ]]; then
  printf '%q ' "${words[@]}"
  echo
else
  "${words[@]}"
fi
