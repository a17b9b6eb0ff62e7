"""Network architectures, and the files in which models are saved, exported and described."""
