"""Text whose probability is known: a small language of shapes, and the corpus written in it."""
