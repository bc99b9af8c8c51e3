"""Data with a known answer, in the files that a real study would read."""
