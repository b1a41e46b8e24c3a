"""The process that runs: joining others, signals, watchdog, exit codes."""
