"""`python -m trainables.outside`: further training rows of a task from texts of any other source (best_fit 4.6.2)."""
