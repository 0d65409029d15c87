"""What several stages share: the command line, and what they load or write together."""
