"""Which model answers: tracking, registry, gate, and the steps from facts to a promoted version. No facts are written here."""
