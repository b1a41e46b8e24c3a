#!/usr/bin/env bash
# Submits a training to a GKE cluster made with xpk.
#
#   export CLUSTER=my-cluster ZONE=us-east5-a TYPE=v5litepod-256 IMAGE=python:3.12
#   launch/xpk.sh mae-l16 --config configs/mae.py:variant=L/16 --workdir /data/runs/mae_l16
#   launch/xpk.sh --dry-run mae-l16 --config ...       # shows the command of xpk instead
#
# The first word names the workload; the rest are arguments of maskmim.train.
#
# CLUSTER, ZONE, TYPE   the cluster, its zone, and the slice (xpk's --tpu-type)
# PROJECT     if not gcloud's own
# SLICES      slices of that type (default 1)
# RESTARTS    how often in all (default 50)
# SPOT        1 for spot machines, in clusters that provision nodes by themselves
# MOUNT       name of a storage attached with `xpk storage attach`, on which the work directory is
# GRACE       seconds between TERM and KILL, in which the run saves (default 120)
# IMAGE       base image to which xpk adds this folder, and in which the requirements are installed at
#             start (default python:3.12); or
# DOCKER_IMAGE  one that has this checkout and its requirements already
#
# Started again: what saved (75), hung (70), lacked room (74), crashed (1) or was killed (128 and above).
# Not: a wrong config (2), divergence (65), bad data (66).
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
    echo "xpk.sh: $name is not set; launch/xpk.sh alone shows the use" >&2
    exit "$USAGE"
  fi
done
workload=${1:-}
if [[ ! $workload =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]]; then
  echo "xpk.sh: the first word names the workload: up to 40 of a-z, 0-9 and -, got '$workload'" >&2
  exit "$USAGE"
fi
shift
if (($# == 0)); then
  echo "xpk.sh: the arguments of maskmim.train are missing after '$workload'" >&2
  exit "$USAGE"
fi

# exec: xpk sends TERM to the shell that runs this, which would not hand it on. (Recent bash makes the
# last command of a subshell take its place by itself.)
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
