#!/usr/bin/env bash
# Trains on this machine, starting again after a crash; Ctrl-C saves and stops.
#
#   launch/local.sh --config configs/quickstart.py --workdir runs/quickstart
#   RESTARTS=5 PROCESSES=2 launch/local.sh --config configs/mae.py --workdir runs/mae
#
# RESTARTS    how often a run that crashed or hung is started again (default 3)
# PROCESSES   processes that share the training, over the loopback (default 1)
# PORT        of their coordinator (default 4321)
# PYTHON      the interpreter (default python)
#
# It leaves with the code of the training, of several processes with one that must not start again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
source launch/exit_codes.sh
if (($# == 0)); then
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
  exit "$USAGE"
fi

# Processes in groups of their own: Ctrl-C in a terminal reaches this script alone, which hands it on
# once; a second signal would end a training that is saving.
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

# Runs every process once; returns the code that tells most.
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
    if tells_more "$code" "$worst"; then worst=$code; fi
  done
  return "$worst"
}

# A code that forbids a new start tells more than one of those that its loss brought upon the others.
tells_more() {
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
  echo "launch/local.sh: exit code $code, start $((try + 1)) of $restarts again" >&2
  sleep 2
  if [[ -n $stopped ]]; then exit "$code"; fi
done
