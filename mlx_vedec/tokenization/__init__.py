"""From the files of a tokenizer, of whichever kind, to one pipeline; and texts as tokens come."""
