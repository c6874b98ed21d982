"""What a training run tells and leaves behind. Imports no torch."""
