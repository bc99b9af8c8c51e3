"""What the units of a network see: their receptive fields, what drives them, their codes, and their part in a fit."""
