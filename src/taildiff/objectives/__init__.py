"""What is minimised: views, terms and one fused forward."""
