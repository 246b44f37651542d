"""From a decoder's steps to tokens: options and loops, on arrays and ids alone."""
