"""The ``sublet`` command: one file per command, each stating one ``COMMAND``; nothing lists them."""
