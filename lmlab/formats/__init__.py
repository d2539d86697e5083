"""The number formats that the released weights are stored in."""
