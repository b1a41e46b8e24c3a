#!/usr/bin/env bash
# Trains on this machine, starting again after a crash; Ctrl-C saves and stops.
#
#   launch/local.sh --config configs/quickstart.py --workdir runs/quickstart
#   RESTARTS=5 PROCESSES=2 launch/local.sh --config configs/mae.py --workdir runs/mae
#
# RESTARTS    restarts after a crash or a hang (default 3)
# PROCESSES   processes of the training on this machine (default 1)
# PORT        of their coordinator (default 4321)
# PYTHON      the interpreter (default python)
#
# Exits with the code of the training; of several processes, with one that forbids a restart, if any.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
source launch/exit_codes.sh
if (($# == 0)); then
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
  exit "$USAGE"
fi

# Processes get their own groups: Ctrl-C in a terminal reaches this script only, which forwards it once;
# a second signal would end a training that is saving.
set -m
restarts=${RESTARTS:-3}
processes=${PROCESSES:-1}
python=${PYTHON:-python}
children=()
stopped=

forward() {
  stopped=1
  for child in "${children[@]}"; do kill -s "$1" "$child" 2>/dev/null; done
}
trap 'forward TERM' TERM INT HUP
trap 'forward USR1' USR1

# Runs every process once; returns the code that decides about a restart.
attempt() {
  children=()
  local index code worst=0
  for ((index = 0; index < processes; index++)); do
    local hosts=()
    if ((processes > 1)); then
      hosts=(--coordinator "127.0.0.1:${PORT:-4321}" --processes "$processes" --process "$index")
    fi
    "$python" -m maskmim.train "$@" "${hosts[@]}" &
    children+=($!)
  done
  for child in "${children[@]}"; do
    wait "$child"
    code=$?
    # A signal interrupts wait: ask again for the real code.
    while kill -0 "$child" 2>/dev/null; do
      wait "$child"
      code=$?
    done
    if outweighs "$code" "$worst"; then worst=$code; fi
  done
  return "$worst"
}

# A code that forbids a restart outweighs those of processes that only lost the first one.
outweighs() {
  if (($1 == DONE)); then return 1; fi
  if (($2 == DONE)); then return 0; fi
  if again "$1"; then again "$2" && (($1 > $2)); else again "$2"; fi
}

for ((try = 0; ; try++)); do
  attempt "$@"
  code=$?
  if [[ -n $stopped || $code -eq $SAVED ]] || ! again "$code" || ((try >= restarts)); then
    exit "$code"
  fi
  echo "launch/local.sh: exit code $code, restart $((try + 1)) of $restarts" >&2
  sleep 2
  if [[ -n $stopped ]]; then exit "$code"; fi
done
