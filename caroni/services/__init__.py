"""What the command line and the console ask for and do: queries and commands, without any display."""
