"""`python -m trainables.predict`: what an exported model says of sentences."""
