"""What may vary, as data: config paths, domains, conditions."""
