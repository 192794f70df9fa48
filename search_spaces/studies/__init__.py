"""The spaces that `--space` knows by name, a file each."""
