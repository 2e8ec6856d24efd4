"""What one would do otherwise, written as it is usually written. They do the same calls; what they leave out, they leave out."""
