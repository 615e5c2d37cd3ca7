"""The training objective: views, terms, and one fused forward pass."""
