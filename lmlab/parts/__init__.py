"""The components of the three families, one idea a file: tensors in, tensors out."""
