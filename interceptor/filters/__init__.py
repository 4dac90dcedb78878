"""Filter expressions: parser and predicates over the model."""
