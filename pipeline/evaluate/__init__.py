"""How good the model is: perplexity, generation, text metrics."""
