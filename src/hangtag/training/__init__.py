"""Train classifiers on labelled photographs and product names."""
