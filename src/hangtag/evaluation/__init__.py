"""Judge a trained model honestly."""
