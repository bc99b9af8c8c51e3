"""What holds over subjects and beyond chance: groups, noise ceilings, permutations, sign flips."""
