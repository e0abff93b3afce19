"""The accuracy of judge and port on labelled images, preprocessed as TensorFlow does."""
