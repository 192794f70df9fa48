"""Many trials, in Ray: the ledger, the search, the mirror, the export."""
