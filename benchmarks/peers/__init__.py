"""The same training as others write it, on `transformers.BertModel` and padded batches."""
