"""What was learnt, read from the ledger alone."""
