"""Pure mathematics of diffusion: processes, parameterisations, guidance, samplers."""
