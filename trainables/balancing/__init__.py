"""Three tasks, one encoder: whose turn it is, how their losses meet."""
