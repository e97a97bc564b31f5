"""Training: a network of the zoo, or a baseline, from a recipe to a finished run folder."""
