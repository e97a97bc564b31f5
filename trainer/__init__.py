"""From public face data to a judged Keras model.

A reader follows the data: `datasets` reads FER2013 and the FER+ votes, `cleaning` drops what would
mislead, `targets` turns labels and votes into training targets, `augment` varies the faces, `zoo` holds
the networks, `fit` trains one and `evaluate` judges any of them, `.keras` file or int8 bundle alike.
"""
