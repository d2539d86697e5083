"""Numbers in, pictures out: DataFrames and arrays to matplotlib figures. No model code is imported here."""
