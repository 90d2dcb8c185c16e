"""The operating system: files written completely or not at all, signals, memory limits, child processes."""
