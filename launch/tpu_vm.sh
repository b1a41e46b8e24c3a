#!/usr/bin/env bash
# Trains on a Cloud TPU slice of any number of hosts, through queued resources and ssh.
#
#   export TPU=maskmim-1 ZONE=us-central2-b TYPE=v4-32 RUNTIME=tpu-ubuntu2204-base
#   launch/tpu_vm.sh create                  # SPOT=1 for spot capacity; waits in the queue
#   launch/tpu_vm.sh wait                    # until the slice is there
#   launch/tpu_vm.sh setup                   # this checkout and its environment on every host
#   launch/tpu_vm.sh train --config configs/mae.py --workdir gs://bucket/runs/mae
#   launch/tpu_vm.sh logs | stop | delete
#   launch/tpu_vm.sh keep --config ... --workdir ...   # creates again after preemption, resumes
#
# TPU       name of the slice and of its queued resource
# ZONE      where; PROJECT, if not gcloud's own
# TYPE      accelerator type, as v4-32, v5litepod-16, v5p-64, v6e-16
# RUNTIME   runtime version of that type, see Google's list
# The work directory must be one that all hosts see: a mounted file system, or gs:// with gcsfuse.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/exit_codes.sh

: "${TPU:?name of the slice}" "${ZONE:?zone of the slice}"
where=(--zone="$ZONE")
if [[ -n ${PROJECT:-} ]]; then where+=(--project="$PROJECT"); fi

everywhere() {
  gcloud compute tpus tpu-vm ssh "$TPU" "${where[@]}" --worker=all --command="$1"
}

state() {
  gcloud compute tpus queued-resources describe "$TPU" "${where[@]}" --format='value(state.state)' \
    2>/dev/null || echo NONE
}

create() {
  local capacity=()
  if [[ -n ${SPOT:-} ]]; then capacity=(--spot); fi
  gcloud compute tpus queued-resources create "$TPU" "${where[@]}" --node-id="$TPU" \
    --accelerator-type="${TYPE:?accelerator type}" --runtime-version="${RUNTIME:?runtime version}" \
    "${capacity[@]}"
}

wait_for_it() {
  local now
  while now=$(state); [[ $now != ACTIVE ]]; do
    case $now in
      FAILED | SUSPENDED | NONE) echo "tpu_vm.sh: $TPU is $now" >&2; return 1 ;;
    esac
    echo "tpu_vm.sh: $TPU is $now"
    sleep 30
  done
}

setup() {
  local archive
  archive=$(mktemp)
  git archive --format=tar.gz HEAD > "$archive"
  gcloud compute tpus tpu-vm scp "$archive" "$TPU:maskmim.tar.gz" "${where[@]}" --worker=all
  rm "$archive"
  everywhere "mkdir -p maskmim && tar -xzf maskmim.tar.gz -C maskmim && cd maskmim \
    && python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt 'jax[tpu]>=0.10,<0.13'"
}

# Runs in the foreground on every host; its code is the training's.
train() {
  local words
  words=$(printf '%q ' "$@")
  everywhere "cd maskmim && .venv/bin/python -m maskmim.train --coordinator auto $words 2>&1 \
    | tee -a ~/train.log; exit \${PIPESTATUS[0]}"
}

remove() {
  gcloud compute tpus queued-resources delete "$TPU" "${where[@]}" --force --quiet
}

keep() {
  while true; do
    if [[ $(state) != ACTIVE ]]; then
      if [[ $(state) != NONE ]]; then remove; fi
      create
      wait_for_it
      setup
    fi
    local code=0
    train "$@" || code=$?
    if [[ $(state) == ACTIVE ]] && ! again "$code"; then return "$code"; fi
    echo "tpu_vm.sh: exit code $code, $TPU is $(state): again" >&2
  done
}

action=${1:?create, wait, setup, train, logs, stop, delete or keep}
shift
case $action in
  create) create ;;
  wait) wait_for_it ;;
  setup) setup ;;
  train) train "$@" ;;
  logs) gcloud compute tpus tpu-vm ssh "$TPU" "${where[@]}" --worker=0 --command='tail -f train.log' ;;
  stop) everywhere "pkill -TERM -f maskmim.train || true" ;;
  delete) remove ;;
  keep) keep "$@" ;;
  *) echo "tpu_vm.sh: unknown action $action" >&2; exit "$USAGE" ;;
esac
