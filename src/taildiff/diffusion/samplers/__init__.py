"""From noise to images: step rules that know the process only through (alpha, sigma), one family per file.

With x0 the predicted clean image at s, eps = (x - alpha x0)/sigma, and primes at the next level s' < s. A step rule
is a pure function: whatever a multi-step method carries from one step to the next is its explicit state.
"""
