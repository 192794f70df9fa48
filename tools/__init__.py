"""What people who work on tritune run beside it; no part of what is installed."""
