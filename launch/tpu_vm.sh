#!/usr/bin/env bash
# Trains on a Cloud TPU slice of any number of hosts, through queued resources and ssh.
#
#   export TPU=maskmim-1 ZONE=us-central2-b TYPE=v4-32 RUNTIME=tpu-ubuntu2204-base
#   launch/tpu_vm.sh create                  # SPOT=1 for spot capacity; waits in the queue
#   launch/tpu_vm.sh wait                    # until the slice is ready
#   launch/tpu_vm.sh setup                   # installs HEAD of this checkout on every host
#   launch/tpu_vm.sh train --config configs/mae.py --workdir gs://bucket/runs/mae
#   launch/tpu_vm.sh logs | stop | delete
#   launch/tpu_vm.sh keep --config ... --workdir ...   # all of this, repeated after preemption; resumes
#   launch/tpu_vm.sh --dry-run keep ...      # prints the gcloud commands instead
#
# TPU       name of the slice and of its queued resource
# ZONE      zone; PROJECT, if not gcloud's default
# TYPE      accelerator type, as v4-32, v5litepod-16, v5p-64, v6e-16
# RUNTIME   runtime version of that type, see Google's list
# RESTARTS  restarts by `keep` after a crash or a hang, and attempts to make a slice (default 10);
#           preemptions and saves do not count
# The work directory must be visible to all hosts: a mounted file system, or gs:// with gcsfuse.
# `stop` lets the run save. End a `keep` that runs elsewhere first, or it starts the run again.
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
for name in TPU ZONE; do
  if [[ -z ${!name:-} ]]; then
    echo "tpu_vm.sh: $name is not set; run launch/tpu_vm.sh without arguments for usage" >&2
    exit "$USAGE"
  fi
done
# shellcheck disable=SC2153  # ZONE is the environment's, DONE a code
where=(--zone="$ZONE")
if [[ -n ${PROJECT:-} ]]; then where+=(--project="$PROJECT"); fi

cloud() {
  if [[ -n $show ]]; then
    printf '%q ' gcloud compute tpus "$@"
    echo
  else
    gcloud compute tpus "$@"
  fi
}

on_all_hosts() {
  cloud tpu-vm ssh "$TPU" "${where[@]}" --worker=all --command="$1"
}

# Prints the state of the slice in the queue; NONE without a slice, and in a dry run.
state() {
  if [[ -n $show ]]; then
    echo NONE
  else
    cloud queued-resources describe "$TPU" "${where[@]}" --format='value(state.state)' 2>/dev/null \
      || echo NONE
  fi
}

create() {
  local capacity=()
  if [[ -n ${SPOT:-} ]]; then capacity=(--spot); fi
  cloud queued-resources create "$TPU" "${where[@]}" --node-id="$TPU" \
    --accelerator-type="${TYPE:?accelerator type}" --runtime-version="${RUNTIME:?runtime version}" \
    "${capacity[@]}"
}

wait_until_active() {
  local now
  if [[ -n $show ]]; then return; fi
  while now=$(state); [[ $now != ACTIVE ]]; do
    case $now in
      FAILED | SUSPENDING | SUSPENDED | NONE) echo "tpu_vm.sh: $TPU is $now" >&2; return 1 ;;
    esac
    echo "tpu_vm.sh: $TPU is $now"
    sleep "${POLL:-30}"
  done
}

# The runtime's Python may be older than the package needs: uv installs one.
setup() {
  local archive code=0
  archive=$(mktemp)
  {
    git archive --format=tar.gz HEAD > "$archive" \
      && cloud tpu-vm scp "$archive" "$TPU:maskmim.tar.gz" "${where[@]}" --worker=all
  } || code=$?
  rm "$archive"
  if ((code)); then return "$code"; fi
  on_all_hosts "mkdir -p maskmim && tar -xzf maskmim.tar.gz -C maskmim && cd maskmim \
    && python3 -m pip install -q --user uv && python3 -m uv venv -q --clear --python 3.12 .venv \
    && python3 -m uv pip install -q --python .venv/bin/python -r requirements.txt 'jax[tpu]>=0.10,<0.13'"
}

# Runs in the foreground on every host, once: a second start finds the lock and exits with USAGE, for
# example if this machine lost its connection while the run went on. tee -p continues without a reader.
train() {
  local words
  words=$(printf ' %q' "$@")
  on_all_hosts "cd maskmim && flock -n -o -E $USAGE ~/maskmim.lock .venv/bin/python -m maskmim.train \
    --coordinator auto$words 2>&1 | tee -p -a ~/train.log; exit \${PIPESTATUS[0]}"
}

# The pattern matches the training, not the shells whose command line contains it.
stop() {
  on_all_hosts "pkill -TERM -f '^[^ ]*python -m maskmim[.]train' || true"
}

remove() {
  cloud queued-resources delete "$TPU" "${where[@]}" --force --quiet
}

# Makes a slice that is ready for training; replaces one that was preempted or failed.
prepare() {
  case $(state) in
    ACTIVE)
      on_all_hosts "test -x maskmim/.venv/bin/python" || setup
      return
      ;;
    FAILED | SUSPENDING | SUSPENDED) { remove && create; } || return ;;
    NONE) create || return ;;
  esac
  wait_until_active && setup
}

keep() {
  local code failures=0 crashes=0
  while true; do
    until prepare; do
      if ((++failures > ${RESTARTS:-10})); then return 1; fi
      sleep "${POLL:-30}"
    done
    failures=0 code=0
    train "$@" || code=$?
    if ((code == DONE)); then return; fi
    if [[ $(state) == ACTIVE ]] && ((code != SAVED)); then
      if ! again "$code" || ((++crashes > ${RESTARTS:-10})); then return "$code"; fi
    fi
    echo "tpu_vm.sh: exit code $code, $TPU is $(state): again" >&2
    sleep "${POLL:-30}"
  done
}

with_arguments() {
  if (($# == 1)); then
    echo "tpu_vm.sh: $1 needs the arguments of maskmim.train" >&2
    exit "$USAGE"
  fi
  "$@"
}

if (($# == 0)); then set -- ''; fi
action=$1
shift
case $action in
  create) create ;;
  wait) wait_until_active ;;
  setup) setup ;;
  train | keep) with_arguments "$action" "$@" ;;
  logs) cloud tpu-vm ssh "$TPU" "${where[@]}" --worker=0 --command='tail -f train.log' ;;
  stop) stop ;;
  delete) remove ;;
  *)
    echo "tpu_vm.sh: unknown action '$action': create, wait, setup, train, logs, stop, delete, keep" >&2
    exit "$USAGE"
    ;;
esac
