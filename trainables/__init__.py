"""One trial, in torch: text in, a trained multitask BERT out.  Nothing here but `trainable.py` has heard of a search."""
