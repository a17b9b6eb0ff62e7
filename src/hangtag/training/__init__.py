"""Learn the labels from the photographs."""
