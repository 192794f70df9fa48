"""Our speed, measured by commands that anybody can run."""
