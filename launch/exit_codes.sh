# shellcheck shell=bash
# The exit codes of maskmim/errors.py for launchers; `again CODE` succeeds if a restart helps.
# shellcheck disable=SC2034
DONE=0 FAILED=1 USAGE=2 DIVERGED=65 BAD_DATA=66 STUCK=70 STORAGE=74 SAVED=75

again() {
  case $1 in
    "$DONE" | "$USAGE" | "$DIVERGED" | "$BAD_DATA") return 1 ;;
    *) return 0 ;;
  esac
}
