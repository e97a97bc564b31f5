"""From public face data to an evaluated Keras model.

A reader follows the data: `data` reads, cleans, splits and augments faces, `zoo` holds the networks, `evaluation` says
what any model, `.keras` file or int8 bundle alike, is worth, and `fit` trains one and has it evaluated. Each imports
from those before it only; `errors`, `labels`, `recipe` and `runs` are everybody's.
"""
