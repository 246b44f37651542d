"""An HTTP server for any number of clients: one model, one stream of work, OpenAI's requests.

Imports every room below but none of the commands.
"""
