"""Predictions in, one scalar a task out."""
