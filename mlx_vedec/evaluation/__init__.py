"""Models scored on labelled data, with intervals, alone or one against another."""
