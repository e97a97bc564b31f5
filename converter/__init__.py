"""From a trained Keras model to an int8 model bundle, and the proof that it is still the same model.

`quantize` makes the TFLite file, `parity` compares it with its parent, `bundle` writes the folder the agent
loads, and `detector` brings the face detector's weights into the same form.
"""
