"""Numbers about a configuration or about tensors: parameters, bytes, FLOPs. Figures are drawn elsewhere."""
