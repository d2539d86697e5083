"""Training as generators of records: printing, drawing and stopping belong to the caller."""
