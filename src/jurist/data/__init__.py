"""From preference rows to training sets: filters, pairs with a known answer, splits, mixtures."""
